"""The CA in force, against a real API server over loopback."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from isthmus.ca.administration import read_status, want_rotation
from isthmus.ca.authority import CertificateAuthority, Rules, running_authority
from isthmus.ca.material import CA_CERT, CA_KEY, CERT_CHAIN, OPERATOR_CA, OWN_CA, REVOKED, ROOT_CERT
from isthmus.ca.own_secret import NEXT_KEY, SINCE
from isthmus.ca.rotation import Phase
from isthmus.ca.signer import Lifetimes, new_key, pem_of
from isthmus.kube.access import Access
from isthmus.kube.client import Client, running_client
from isthmus.kube.kinds import NAMESPACE, SECRET
from isthmus.lab.apiserver.server import running_api_server
from isthmus.lib.errors import UserError
from tests.ca.making import CONTROL, key_pem, material, root_signer, secret
from tests.ca.waiting import until

RULES = Rules(lifetimes=Lifetimes(timedelta(hours=1), timedelta(hours=2), timedelta(0)))


@dataclass
class Clock:
    now: float = field(default_factory=lambda: datetime.now(UTC).timestamp())

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def control_cluster() -> AsyncGenerator[Client]:
    async with running_api_server() as server, running_client(server.access()) as client:
        await client.create(NAMESPACE, {"metadata": {"name": CONTROL}})
        yield client


@asynccontextmanager
async def replicas(
    client: Client, count: int, clock: Clock, rules: Rules = RULES
) -> AsyncGenerator[list[CertificateAuthority]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(running_authority(client, CONTROL, rules, clock=clock))
            for _ in range(count)
        ]


async def touch(client: Client, name: str = OWN_CA) -> None:
    """Any change of the Secret makes replicas look again, as time would."""
    await client.patch(SECRET, name, {"metadata": {"labels": {"touched": uuid4().hex}}}, CONTROL)


def now(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock.now, UTC)


async def test_replicas_that_start_together_agree_on_one_root() -> None:
    clock = Clock()
    async with control_cluster() as client, replicas(client, 5, clock) as authorities:
        for authority in authorities:
            await authority.ready()
        assert len({authority.bundle for authority in authorities}) == 1
        kept = await client.get(SECRET, OWN_CA, CONTROL)
        assert kept.type == "istio.io/ca-root"
        assert {CA_CERT, CA_KEY, ROOT_CERT, CERT_CHAIN} == set(kept.data)
        async with replicas(client, 1, clock) as (later,):
            await later.ready()
            assert later.bundle == authorities[0].bundle


async def test_a_rotation_goes_through_its_phases_whichever_replica_is_there() -> None:
    clock = Clock()
    async with control_cluster() as client:
        async with replicas(client, 2, clock) as (one, other):
            await one.ready()
            await other.ready()
            old = one.signer
            assert old is not None
            await want_rotation(client, CONTROL, clock.now)
            await until(lambda: all(len(each.signer.roots) == 2 for each in (one, other) if each.signer))
            assert one.signer == other.signer
            assert one.signer is not None
            assert one.signer.certificate == old.certificate
        status = await read_status(client, CONTROL, now(clock))
        assert status.phase is Phase.INTRODUCING
        assert status.next_step == pytest.approx(clock.now + 600)
        assert not status.rotation_wanted
        with pytest.raises(UserError, match="under way"):
            await want_rotation(client, CONTROL, clock.now)
        clock.now += 601
        async with replicas(client, 2, clock) as (one, other):
            await until(lambda: one.signer is not None and one.signer.certificate != old.certificate)
            new = one.signer
            assert new is not None
            assert old.certificate in new.roots
            clock.now += 2 * 3600 + 599
            await touch(client)
            assert len(new.roots) == 2
            clock.now += 2
            await touch(client)
            await until(lambda: all(x.bundle == pem_of([new.certificate]) for x in (one, other)))
        status = await read_status(client, CONTROL, now(clock))
        assert (status.phase, status.next_step, len(status.roots)) == (Phase.STEADY, None, 1)


async def test_time_alone_takes_the_next_step() -> None:
    rules = Rules(lifetimes=RULES.lifetimes, introduce=timedelta(seconds=0.2))
    async with running_api_server() as server, running_client(server.access()) as client:
        await client.create(NAMESPACE, {"metadata": {"name": CONTROL}})
        async with running_authority(client, CONTROL, rules) as authority:
            await authority.ready()
            old = authority.signer
            await want_rotation(client, CONTROL, 0)
            assert old is not None
            await until(lambda: authority.signer is not None and authority.signer.key != old.key)


async def test_a_root_that_grows_old_is_rotated_unasked() -> None:
    clock = Clock()
    async with control_cluster() as client, replicas(client, 1, clock) as (authority,):
        await authority.ready()
        clock.now += timedelta(days=3650 * 0.81).total_seconds()
        await touch(client)
        await until(lambda: authority.signer is not None and len(authority.signer.roots) == 2)


async def test_the_operators_ca_wins_and_is_followed() -> None:
    clock = Clock()
    async with control_cluster() as client, replicas(client, 1, clock) as (authority,):
        await authority.ready()
        changes: list[bytes | None] = []
        with authority.subscribe(lambda: changes.append(authority.bundle)):
            first, second = material(now(clock)), material(now(clock))
            await client.create(SECRET, secret(OPERATOR_CA, first))
            await until(lambda: authority.bundle == first[ROOT_CERT])
            await client.replace(SECRET, OPERATOR_CA, secret(OPERATOR_CA, second), CONTROL)
            await until(lambda: authority.bundle == second[ROOT_CERT])
        assert changes == [first[ROOT_CERT], second[ROOT_CERT]]
        with pytest.raises(UserError, match="which only you can rotate"):
            await want_rotation(client, CONTROL, clock.now)
        status = await read_status(client, CONTROL, now(clock))
        assert (status.secret, status.phase) == ("istio-system/cacerts", None)


async def test_a_bad_change_of_the_operators_ca_is_named_and_leaves_the_last_good_one() -> None:
    clock = Clock()
    async with control_cluster() as client:
        good = material(now(clock))
        await client.create(SECRET, secret(OPERATOR_CA, good))
        async with replicas(client, 1, clock) as (authority,):
            await authority.ready()
            bad = good | {CA_KEY: key_pem(new_key())}
            with capture_logs() as logs:
                await client.replace(SECRET, OPERATOR_CA, secret(OPERATOR_CA, bad), CONTROL)
                await until(lambda: "cacerts, key ca-key.pem" in authority.refusal)
            refused = [entry for entry in logs if entry["event"] == "CA secret refused"]
            assert refused[0]["where"] == "Secret istio-system/cacerts, key ca-key.pem"
            assert authority.signer is not None
            await client.replace(SECRET, OPERATOR_CA, secret(OPERATOR_CA, good), CONTROL)
            await until(lambda: authority.refusal == "")
            await client.replace(SECRET, OPERATOR_CA, secret(OPERATOR_CA, good | {REVOKED: b"x"}), CONTROL)
            await until(lambda: "cacerts, key ca-crl.pem" in authority.unheeded)
            assert authority.refusal == ""
            await client.delete(SECRET, OPERATOR_CA, CONTROL)
            await until(lambda: "it is gone" in authority.refusal)
            assert authority.bundle == good[ROOT_CERT]
        assert not await kept(client)


async def test_a_bad_operators_ca_at_start_is_waited_for_and_never_replaced_by_our_own() -> None:
    clock = Clock()
    async with control_cluster() as client:
        await client.create(SECRET, secret(OPERATOR_CA, {CA_CERT: b"x"}))
        async with replicas(client, 1, clock) as (authority,):
            await until(lambda: authority.refusal != "")
            assert authority.pending() == authority.refusal
            assert authority.signer is None
            await client.replace(SECRET, OPERATOR_CA, secret(OPERATOR_CA, material(now(clock))), CONTROL)
            await authority.ready()
            assert authority.pending() == ""


async def test_a_secret_that_istio_made_is_taken_over() -> None:
    clock = Clock()
    made = root_signer(now(clock))
    data = {
        CA_CERT: pem_of([made.certificate]),
        CA_KEY: key_pem(made.key),
        CERT_CHAIN: b"",
        ROOT_CERT: b"",
        "key.pem": b"",
    }
    async with control_cluster() as client:
        await client.create(SECRET, secret(OWN_CA, data))
        async with replicas(client, 1, clock) as (authority,):
            await authority.ready()
            assert authority.bundle == made.bundle


async def test_a_secret_that_somebody_deletes_is_written_again() -> None:
    clock = Clock()
    async with control_cluster() as client, replicas(client, 2, clock) as (one, other):
        await one.ready()
        await other.ready()
        before = await client.get(SECRET, OWN_CA, CONTROL)
        await client.delete(SECRET, OWN_CA, CONTROL)
        async with asyncio.timeout(10):
            while not await kept(client):  # noqa: ASYNC110 - it changes without telling
                await asyncio.sleep(0.005)
        after = await client.get(SECRET, OWN_CA, CONTROL)
        assert (after.data, one.signer) == (before.data, other.signer)


async def kept(client: Client) -> bool:
    return any(item.metadata.name == OWN_CA for item in (await client.list(SECRET, CONTROL)).items)


async def test_a_half_written_next_root_is_refused_and_signs_nothing() -> None:
    clock = Clock()
    async with control_cluster() as client, replicas(client, 1, clock) as (authority,):
        await authority.ready()
        before = authority.signer
        await want_rotation(client, CONTROL, clock.now)
        await until(lambda: authority.signer is not None and len(authority.signer.roots) == 2)
        await client.patch(SECRET, OWN_CA, {"data": {NEXT_KEY: "eA=="}}, CONTROL)
        clock.now += 601
        await touch(client)
        await until(lambda: "istio-ca-secret, key ca-key.pem" in authority.refusal)
        assert authority.signer is not None
        assert before is not None
        assert authority.signer.certificate == before.certificate
        assert (await client.get(SECRET, OWN_CA, CONTROL)).metadata.annotations[SINCE]


async def test_a_missing_right_is_named_while_it_is_waited_for() -> None:
    async with running_api_server() as server:
        nobody = Access(server.url, ca_pem=server.files.ca_cert.read_bytes())
        async with running_client(nobody) as client, replicas(client, 1, Clock()) as (authority,):
            await until(lambda: "cannot be read: 403" in authority.pending())


async def test_no_key_is_ever_logged() -> None:
    clock = Clock()
    with capture_logs() as logs:
        async with control_cluster() as client, replicas(client, 1, clock) as (authority,):
            await authority.ready()
            await want_rotation(client, CONTROL, clock.now)
            await until(lambda: authority.signer is not None and len(authority.signer.roots) == 2)
            secrets: list[Any] = [await client.get(SECRET, OWN_CA, CONTROL), authority.signer, authority]
    text = repr(logs) + repr(secrets)
    assert "PRIVATE" not in text
    for name in (CA_KEY, NEXT_KEY):
        assert secrets[0].data[name].splitlines()[1].decode() not in text
