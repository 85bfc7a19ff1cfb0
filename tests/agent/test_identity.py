"""An identity's life in virtual time, beside a CA in memory and a bundle in a real file."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from structlog.testing import capture_logs

from isthmus.agent.certificate import Certificate, make_csr, new_key, read_certificate
from isthmus.agent.identity import Identity, running_identity
from tests.agent.small_ca import ECHO, SmallCa
from tests.ca.making import NOW, root_signer, uri
from tests.support.virtual_time import run_in_virtual_time


@dataclass
class Scene:
    ca: SmallCa
    file: Path
    identity: Identity
    seen: list[tuple[Certificate | None, bytes | None]] = field(
        default_factory=list[tuple[Certificate | None, bytes | None]]
    )

    def put_roots(self, content: bytes) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_bytes(content)
        fresh.replace(self.file)


@asynccontextmanager
async def scene(folder: Path, *, seconds: int = 3600, trouble: str = "") -> AsyncGenerator[Scene]:
    loop = asyncio.get_running_loop()

    def clock() -> float:
        return NOW.timestamp() + loop.time()

    ca, file = SmallCa(clock, seconds, trouble=trouble), folder / "root-cert.pem"
    seen: list[tuple[Certificate | None, bytes | None]] = []
    async with running_identity(
        file, ca.ask, lambda one: seen.append((one.certificate, one.roots)), clock=clock
    ) as identity:
        yield Scene(ca, file, identity, seen)


def of_event(logs: list[Any], event: str) -> list[Any]:
    return [line for line in logs if line["event"] == event]


def test_it_waits_for_the_roots_and_says_so_and_then_gets_a_certificate(tmp_path: Path) -> None:
    async def life() -> None:
        async with scene(tmp_path) as it:
            await asyncio.sleep(600)
            assert it.ca.asked == []
            assert "root-cert.pem (ConfigMap istio-ca-root-cert)" in str(it.identity.pending())
            it.put_roots(it.ca.signer.bundle)
            await asyncio.sleep(1.1)
            assert it.identity.pending() is None
            certificate = it.identity.certificate
            assert certificate is not None
            assert it.seen == [(None, it.ca.signer.bundle), (certificate, it.ca.signer.bundle)]
            leaf, *others = x509.load_pem_x509_certificates(certificate.chain)
            assert others == [], "the root is not sent"
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert list(names) == [uri(ECHO.uri)]

    with capture_logs() as logs:
        run_in_virtual_time(life())
    assert len(of_event(logs, "waiting for the mesh's roots")) == 1


def test_it_is_renewed_in_time_for_ever_each_time_with_a_new_key(tmp_path: Path) -> None:
    async def life() -> None:
        async with scene(tmp_path, seconds=60) as it:
            it.put_roots(it.ca.signer.bundle)
            await asyncio.sleep(6 * 3600)
            gaps = [b - a for a, b in zip(it.ca.asked, it.ca.asked[1:], strict=False)]
            assert len(gaps) > 600
            assert all(26.5 <= gap <= 33.1 for gap in gaps)
            keys = {certificate.key for certificate, _ in it.seen if certificate is not None}
            assert len(keys) == len(it.ca.asked) == it.identity.tally.issued

    run_in_virtual_time(life())


def test_a_ca_that_fails_leaves_the_valid_certificate_and_is_asked_again(tmp_path: Path) -> None:
    async def life() -> None:
        async with scene(tmp_path, seconds=3600) as it:
            it.put_roots(it.ca.signer.bundle)
            await asyncio.sleep(10)
            first = it.identity.certificate
            it.ca.trouble = "CA pilot:15012: UNAVAILABLE"
            await asyncio.sleep(3500)
            assert it.identity.certificate is first
            assert it.identity.pending() is None
            assert it.identity.tally.failed > 20
            await asyncio.sleep(600)
            it.ca.trouble = ""
            await asyncio.sleep(61)
            assert it.identity.certificate is not first

    with capture_logs() as logs:
        run_in_virtual_time(life())
    failures = of_event(logs, "no certificate was issued; asking again")
    assert [line["reason"] for line in failures] == ["CA pilot:15012: UNAVAILABLE"] * 2
    assert failures[0]["seconds_left"] > 0 >= failures[1]["seconds_left"]


def test_why_there_is_no_first_certificate_is_told(tmp_path: Path) -> None:
    async def life() -> None:
        async with scene(tmp_path, trouble="CA pilot:15012: UNAUTHENTICATED: token expired") as it:
            it.put_roots(it.ca.signer.bundle)
            await asyncio.sleep(5)
            assert str(it.identity.pending()).endswith("UNAUTHENTICATED: token expired")

    run_in_virtual_time(life())


def test_changed_roots_reach_envoy_within_a_second_and_ask_for_nothing_where_the_old_one_stays(
    tmp_path: Path,
) -> None:
    async def life() -> None:
        async with scene(tmp_path) as it:
            it.put_roots(it.ca.signer.bundle)
            await asyncio.sleep(2)
            both = it.ca.signer.bundle + root_signer().bundle
            it.put_roots(both)
            await asyncio.sleep(1.1)
            assert it.seen[-1] == (it.identity.certificate, both)
            assert len(it.ca.asked) == 1

    run_in_virtual_time(life())


def test_a_certificate_under_no_present_root_is_renewed_at_once(tmp_path: Path) -> None:
    async def life() -> None:
        async with scene(tmp_path) as it:
            it.put_roots(it.ca.signer.bundle)
            await asyncio.sleep(2)
            first = it.identity.certificate
            it.ca.signer = root_signer()
            it.put_roots(it.ca.signer.bundle)
            await asyncio.sleep(1.1)
            assert len(it.ca.asked) == 2
            assert it.identity.certificate is not first

    run_in_virtual_time(life())


@pytest.mark.parametrize("content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAA==\n"])
def test_a_bundle_that_cannot_be_read_is_named_and_the_last_good_one_stays(
    content: bytes, tmp_path: Path
) -> None:
    async def life() -> None:
        async with scene(tmp_path) as it:
            it.put_roots(it.ca.signer.bundle)
            await asyncio.sleep(2)
            it.put_roots(content)
            await asyncio.sleep(60)
            assert it.identity.roots == it.ca.signer.bundle
            it.file.unlink()
            await asyncio.sleep(60)
            assert it.identity.roots == it.ca.signer.bundle

    with capture_logs() as logs:
        run_in_virtual_time(life())
    [line] = of_event(logs, "waiting for the mesh's roots")
    assert "root-cert.pem is no bundle" in line["reason"]


def test_an_answer_for_another_key_is_of_no_use() -> None:
    async def life() -> None:
        ca = SmallCa(NOW.timestamp)
        answer = (await ca.ask(make_csr(new_key()), b"")).certificates
        with pytest.raises(ValueError, match="for another key"):
            read_certificate(new_key(), answer)
        for useless in ([], ["x"], [*answer[:1], "x"]):
            with pytest.raises(ValueError, match="the CA's answer is of no use"):
                read_certificate(new_key(), useless)

    run_in_virtual_time(life())


def test_neither_key_nor_csr_comes_into_the_log(tmp_path: Path) -> None:
    async def life() -> None:
        async with scene(tmp_path, seconds=60) as it:
            it.put_roots(it.ca.signer.bundle)
            await asyncio.sleep(300)
            assert it.identity.certificate is not None
            shown.append(repr(it.identity.certificate))

    shown: list[str] = []
    with capture_logs() as logs:
        run_in_virtual_time(life())
    assert len(logs) > 5
    assert "PRIVATE KEY" not in f"{logs}{shown}"
    assert "CERTIFICATE REQUEST" not in str(logs)
