"""The control plane's own certificate, handshake by handshake, in memory."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from structlog.testing import capture_logs

from isthmus.ca.material import read_signer
from isthmus.ca.serving import ServingCertificate
from isthmus.ca.signer import Lifetimes, Signer, new_key, pem_of
from isthmus.lib.tls import load_pair
from tests.ca.making import ECHO, key_pem, material, root_signer

HOST = "istio-pilot.istio-system.svc"
DAY = timedelta(days=1)
LIFETIMES = Lifetimes(DAY, DAY, timedelta(0))
START = datetime.now(UTC).timestamp() - 15 * 3600
"""OpenSSL has the machine's time: what is made in these hours is valid now."""


@dataclass
class Source:
    signer: Signer | None


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def client(roots: bytes, signer: Signer | None = None) -> ssl.SSLContext:
    """A client that trusts these roots, with a workload's certificate of that CA if there is one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=roots.decode())
    context.set_alpn_protocols(["h2"])
    if signer is not None:
        key, now = new_key(), datetime.now(UTC)
        leaf = signer.issue(ECHO.uri, key.public_key(), life=DAY, skew=DAY, now=now)
        load_pair(context, pem_of([leaf, *signer.chain]), key_pem(key))
    return context


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = HOST
) -> tuple[bytes, bytes | None]:
    """The server's certificate and the client's as the server knows it, DER. Raises ssl.SSLError."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(up, down, server_side=True)
    theirs = client.wrap_bio(down, up, server_hostname=name)
    waiting: list[ssl.SSLObject] = [theirs, ours]
    while waiting:
        side = waiting.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(side)
    assert ours.selected_alpn_protocol() == "h2"
    shown = theirs.getpeercert(binary_form=True)
    assert shown is not None
    return shown, ours.getpeercert(binary_form=True)


def test_it_is_the_same_for_half_of_its_life_and_then_another() -> None:
    source, clock = Source(root_signer(datetime.now(UTC))), Clock()
    assert source.signer is not None
    roots = source.signer.bundle
    server = ServingCertificate(source, [HOST], LIFETIMES, clock=clock).server_context()
    first, _ = shake(server, client(roots))
    clock.now += 11 * 3600
    assert shake(server, client(roots))[0] == first
    clock.now += 2 * 3600
    second, _ = shake(server, client(roots))
    assert second != first
    source.signer = None
    clock.now += 20 * 3600
    assert shake(server, client(roots))[0] == second, "without a CA the last one is shown"
    names = x509.load_der_x509_certificate(first).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == [HOST]


def test_clients_are_judged_by_the_roots_of_the_moment() -> None:
    old, new = root_signer(datetime.now(UTC)), root_signer(datetime.now(UTC))
    source = Source(old)
    server = ServingCertificate(source, [HOST], LIFETIMES).server_context()
    both = old.bundle + new.bundle
    assert shake(server, client(both))[1] is None
    assert shake(server, client(both, old))[1]
    with pytest.raises(ssl.SSLError):
        shake(server, client(both, new))
    source.signer = Signer(new.certificate, new.key, (), (new.certificate, old.certificate))
    for signer in (old, new):
        assert shake(server, client(both, signer))[1], "while both are trusted"
    source.signer = new
    assert shake(server, client(both, new))[1]
    with pytest.raises(ssl.SSLError):
        shake(server, client(both, old))


def test_an_intermediate_ca_is_shown_with_its_chain() -> None:
    signer = read_signer(
        "istio-system/cacerts", material(datetime.now(UTC)), datetime.now(UTC) + timedelta(1)
    )
    server = ServingCertificate(Source(signer), [HOST], LIFETIMES).server_context()
    assert shake(server, client(signer.bundle, signer))[1]


def test_clients_that_name_no_server_or_another_see_it_too_and_old_versions_are_refused() -> None:
    signer = root_signer(datetime.now(UTC))
    server = ServingCertificate(Source(signer), [HOST], LIFETIMES).server_context()
    nameless = client(signer.bundle)
    nameless.check_hostname = False
    assert shake(server, nameless, None)[0]
    assert shake(server, nameless, "elsewhere.example")[0]
    assert server.minimum_version is ssl.TLSVersion.TLSv1_2
    assert server.options & ssl.OP_NO_TICKET


class Failing(Signer):
    """Where there is no room for the key on its way into OpenSSL."""

    def issue_serving(self, *_: Any, **__: Any) -> x509.Certificate:
        raise OSError(28, "No space left on device")


def test_a_renewal_that_fails_leaves_the_last_one_and_is_tried_again() -> None:
    signer, clock = root_signer(datetime.now(UTC)), Clock()
    source = Source(signer)
    server = ServingCertificate(source, [HOST], LIFETIMES, clock=clock).server_context()
    first, _ = shake(server, client(signer.bundle))
    source.signer = Failing(signer.certificate, signer.key, signer.chain, signer.roots)
    with capture_logs() as logs:
        for _ in range(3):
            assert shake(server, client(signer.bundle))[0] == first
    assert [entry["event"] for entry in logs] == ["serving certificate cannot be renewed"]
    source.signer = signer
    clock.now += 13 * 3600
    assert shake(server, client(signer.bundle))[0] != first
