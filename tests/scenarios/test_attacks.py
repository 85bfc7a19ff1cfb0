"""Whoever is not who it says gets nothing, a clear log line says so, and nobody else notices."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Awaitable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import jwt
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from grpc import aio

from isthmus.ca.messages import METHOD, CertificateRequest, encode_request
from isthmus.ca.signer import new_key
from isthmus.kube.kinds import POD
from isthmus.model.service import ClusterId
from tests.ca.clusters import EAST, WEST
from tests.ca.making import csr, key_pem, root_signer, uri
from tests.scenarios.mesh import ads, eventually, proxy_of
from tests.scenarios.siege import (
    ECHO_URI,
    Call,
    Claim,
    Pair,
    Siege,
    add_pod,
    ask_endpoints,
    besieged,
    hear,
)
from tests.support.ca_client import make_csr

DENIED, INVALID = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT
NOBODY = grpc.StatusCode.UNAUTHENTICATED


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def siege(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Siege]:
    """One for all: whatever one attack did, the next one meets a control plane that is as good as new."""
    async with besieged(tmp_path_factory.mktemp("siege")) as stage:
        yield stage


async def _code(call: Awaitable[bytes]) -> grpc.StatusCode:
    try:
        await call
    except aio.AioRpcError as error:
        return error.code()
    raise AssertionError("the call was answered")


async def test_tokens_that_prove_nothing_open_neither_discovery_nor_the_ca(siege: Siege) -> None:
    good = await siege.token(pod="echo-1")
    await siege.served(Claim(), token=good)
    header, payload, _ = good.split(".")
    forged = siege.hide(jwt.encode(jwt.decode(good, options={"verify_signature": False}), "x" * 32))
    claims = {"aud": ["istio-ca"], "sub": "system:serviceaccount:demo:echo"}
    unbound = siege.hide(jwt.encode(claims | {"exp": time.time() + 60}, "x" * 32))
    expired = siege.hide(jwt.encode(claims | {"exp": time.time() - 5}, "x" * 32))
    for token, cluster, reason in (
        (forged, WEST, "does not accept the token"),
        (siege.hide(f"{header}.{payload}."), WEST, "does not accept the token"),
        (siege.hide(f"{payload}.{header}"), WEST, "JSON Web Token"),
        (expired, WEST, "expired"),
        (await siege.token(audience="vault"), WEST, "the token is for vault, not for istio-ca"),
        (await siege.token(EAST), WEST, "does not accept the token"),
        (await siege.token(WEST), EAST, "does not accept the token"),
        (good, ClusterId("nowhere"), "not in this mesh"),
        (unbound, ClusterId(""), "does not accept the token"),
        ("", WEST, "neither a token nor a client certificate"),
        ("x" * 15_000, WEST, "15000 characters"),
    ):
        before = len(siege.pilot.log)
        code, told = await siege.refused(None, token=token, named=cluster)
        assert (code, reason in told) == (NOBODY, True), told
        assert await siege.denial(token, cluster=cluster) == (NOBODY, told)
        line = await siege.logged("caller refused", since=before, times=2)
        assert reason in line["reason"]
        assert line["peer"]


async def test_requests_for_more_than_the_own_identity_are_refused_and_logged_with_both(siege: Siege) -> None:
    token = await siege.token(pod="echo-1")
    weak = rsa.generate_private_key(65537, 1024)
    other = "spiffe://cluster.local/ns/demo/sa/other"
    for pem, code, reason in (
        (make_csr(new_key(), other), DENIED, other),
        (make_csr(new_key(), "spiffe://evil.example/ns/demo/sa/echo"), DENIED, "evil.example"),
        (csr(names=[uri(ECHO_URI), uri(other)]), DENIED, other),
        (csr(names=[uri(ECHO_URI), x509.DNSName("istio-pilot.istio-system.svc")]), INVALID, "istio-pilot"),
        (csr(weak), INVALID, "1024 bits"),
        (csr(None, (), x509.BasicConstraints(ca=True, path_length=None)), INVALID, "CA:TRUE"),
        ("x" * 20_000, INVALID, "20000 characters"),
        ("x" * 200_000, INVALID, "bytes"),
    ):
        before = len(siege.pilot.log)
        assert (await siege.denial(token, pem))[0] is code
        line = await siege.logged("certificate refused", reason, since=before)
        assert (line["proved"], line["cluster"]) == (ECHO_URI, "west")
    async with siege.channel() as channel:
        ask: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        bearer = aio.Metadata(("authorization", f"Bearer {token}"), ("clusterid", "west"))
        impersonating = CertificateRequest(csr(), 0, {"ImpersonatedIdentity": other})
        assert await _code(ask(encode_request(impersonating), metadata=bearer)) is DENIED
        assert await _code(ask(b"\xff\xff garbage", metadata=bearer)) is INVALID
        assert await _code(ask(b"x" * 5_000_000, metadata=bearer)) is grpc.StatusCode.RESOURCE_EXHAUSTED
    pair = await siege.pair()
    async with siege.channel(pair) as channel:
        again: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        for named in (other, ECHO_URI):  # A certificate gets no certificate, be it stolen or not.
            wish = encode_request(CertificateRequest(make_csr(new_key(), named)))
            assert await _code(again(wish)) is DENIED


async def test_a_proxy_gets_configuration_only_as_the_pod_that_it_proved_to_be(siege: Siege) -> None:
    bound, unbound = await siege.token(pod="echo-1"), await siege.token()
    east = await siege.token(EAST, pod="echo-1")
    pair = await siege.pair()
    for claim, proof, reason in (
        (Claim(namespace="bank"), {"token": bound}, "claims ns/bank/sa/echo"),
        (Claim(metadata={"NAMESPACE": "bank"}), {"token": bound}, "claims ns/bank/sa/echo"),
        (Claim(metadata={"SERVICE_ACCOUNT": "other"}), {"token": bound}, "claims ns/demo/sa/other"),
        (Claim(cluster="east"), {"token": bound}, "claims cluster east but proved"),
        (Claim(cluster="west"), {"token": east, "named": "east"}, "claims cluster west but proved"),
        (Claim(pod="other-1"), {"token": bound}, "claims pod other-1 but proved"),
        (Claim(pod="other-1"), {"token": unbound}, "pod other-1, which runs as ns/demo/sa/other"),
        (Claim(pod="other-1"), {"pair": pair}, "pod other-1, which runs as ns/demo/sa/other"),
        (Claim(namespace="bank"), {"pair": pair}, "claims ns/bank/sa/echo"),
        (Claim(pod="other-1", cluster="east"), {"pair": pair}, "pod other-1, which runs as"),
    ):
        before = len(siege.pilot.log)
        code, told = await siege.refused(claim, **proof)
        assert (code, reason in told) == (DENIED, True), told
        line = await siege.logged("proxy refused", since=before)
        assert (line["proved"], reason in line["reason"]) == (ECHO_URI, True)
    await eventually(lambda: _nobody(siege))
    for cluster, address in (("west", "10.1.0.1"), ("east", "10.2.0.1"), ("", "10.2.0.1")):
        async with siege.stream(Claim(cluster=cluster, address=address), pair=pair) as call:
            await hear(call)
            (row,) = await siege.pilot.page("/debug/syncz")
            assert row["cluster_id"] == (cluster or "east")
        await eventually(lambda: _nobody(siege))


async def _nobody(siege: Siege) -> bool:
    return await siege.pilot.page("/debug/syncz") == []


async def test_a_pod_that_the_control_plane_does_not_know_is_waited_for_and_then_put_off(
    siege: Siege,
) -> None:
    pair = await siege.pair()
    late = Claim(pod="echo-2", address="10.1.0.9")
    async with siege.stream(late, pair=pair) as call:
        reading = asyncio.ensure_future(hear(call))
        await asyncio.sleep(0.5)
        assert not reading.done()
        await add_pod(siege.mesh.west, "echo-2", "echo", "10.1.0.9")
        assert (await reading).resources
    code, told = await siege.refused(Claim(pod="ghost"), pair=pair)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "cluster west shows no pod ghost in namespace demo" in told
    assert (await siege.logged("proxy put off", "ghost"))["proved"] == ECHO_URI


async def test_certificates_of_others_open_nothing(siege: Siege) -> None:
    stranger, key, now = root_signer(datetime.now(UTC)), new_key(), datetime.now(UTC)
    made = stranger.issue(ECHO_URI, key.public_key(), life=timedelta(1), skew=timedelta(0), now=now)
    foreign = Pair(made.public_bytes(Encoding.PEM), key_pem(key))
    code, _ = await siege.refused(Claim(), pair=foreign)
    assert code is grpc.StatusCode.UNAVAILABLE, "TLS ends before anybody is asked"
    issued = await siege.certificate(await siege.token(), make_csr(key, ECHO_URI), seconds=1)
    brief = Pair("".join(issued.chain).encode(), key_pem(key))
    await asyncio.sleep(max(0.0, issued.expires - time.time()) + 0.5)
    code, _ = await siege.refused(Claim(), pair=brief)
    assert code is grpc.StatusCode.UNAVAILABLE, "an expired certificate is none"


async def test_nobody_is_served_for_longer_than_what_proved_it_holds(siege: Siege) -> None:
    key = new_key()
    issued = await siege.certificate(await siege.token(), make_csr(key, ECHO_URI), seconds=2)
    brief, lasting = Pair("".join(issued.chain).encode(), key_pem(key)), await siege.pair()
    await add_pod(siege.mesh.west, "echo-3", "echo", "10.1.0.3")
    east, here = Claim(cluster="east", address="10.2.0.1"), Claim(pod="echo-3", address="10.1.0.3")
    async with (
        siege.channel(brief) as opened_before,
        siege.stream(Claim(), pair=brief) as expiring,
        siege.stream(here, pair=lasting) as deleted,
        siege.stream(east, token=await siege.token(EAST, pod="echo-1"), named="east") as leaving,
        siege.stream(Claim(), pair=lasting) as staying,
    ):
        unary: aio.UnaryUnaryMultiCallable[bytes, bytes] = opened_before.unary_unary(METHOD)
        assert await _code(unary(b"")) is DENIED
        for call in (expiring, deleted, leaving, staying):
            await hear(call)
        await siege.mesh.west.api.delete(POD, "echo-3", "demo", grace_seconds=0)
        assert await _end(deleted) == (NOBODY, "its Pod is gone")
        assert await _end(expiring) == (NOBODY, "what it proved has expired")
        late = ads(opened_before)()
        assert (await _end(late))[0] is NOBODY, "a connection is no older proof than its certificate"
        await siege.logged("caller refused", "its certificate expired")
        await siege.mesh.leave("east")
        assert await _end(leaving) == (NOBODY, "its cluster left the mesh")
        async with siege.stream(east, pair=lasting) as back:
            await siege.mesh.join_east()
            await hear(back)
        await staying.write(ask_endpoints())
        await hear(staying)
    lines = str(await siege.pilot.page("/metrics"))
    for reason in ("expired", "pod_gone", "cluster_gone"):
        assert f'isthmus_proofs_ended_total{{reason="{reason}"}} 1.0' in lines


async def _end(call: Call) -> tuple[grpc.StatusCode, str]:
    async with asyncio.timeout(60):
        return await call.code(), await call.details() or ""


async def test_replayed_nonces_are_answered_with_nothing(siege: Siege) -> None:
    pair = await siege.pair()
    async with siege.stream(Claim(), pair=pair) as one, siege.stream(Claim(), pair=pair) as two:
        for call in (one, two):
            await hear(call)
            await call.write(ask_endpoints())
        first, other = await hear(one), await hear(two)
        await one.write(ask_endpoints(first.nonce))
        await siege.mesh.west.move_echo("10.1.0.7")
        second = await hear(one)
        await one.write(ask_endpoints(second.nonce))
        for nonce in (first.nonce, "0000", other.nonce + "x", "n" * 1000):
            await one.write(ask_endpoints(nonce))
        unheard = asyncio.ensure_future(hear(one))
        await asyncio.sleep(0.5)
        assert not unheard.done(), "a replayed nonce brought an answer"
        await siege.mesh.west.move_echo("10.1.0.8")
        third = await unheard
        (resource,) = third.resources
        assert "10.1.0.8" in str(ClusterLoadAssignment.FromString(resource.value))


_RUSH, _GARBAGE, _SILENT = 250, 10_000, 200


async def _garbage(port: int, number: int) -> None:
    """One connection that says something wrong, or nothing at all."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    kinds = (
        os.urandom(300),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(200),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(50),
        b"",
    )
    with contextlib.suppress(OSError):
        writer.write(kinds[number % len(kinds)])
        writer.write_eof()
        async with asyncio.timeout(30):
            await reader.read()
    writer.transport.abort()


async def _silent(port: int) -> None:
    """One connection that never says anything, until the server ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.transport.abort()


async def test_ten_thousand_garbage_connections_keep_nobody_from_being_served(siege: Siege) -> None:
    pair = await siege.pair()
    plain = await siege.pilot.xds_port()
    waiting = iter(range(_GARBAGE))
    done = asyncio.Event()

    async def throw() -> None:
        for number in waiting:
            await _garbage(siege.port if number % 4 else plain, number)

    async def be_served() -> float:
        """The longest that a change took meanwhile."""
        longest = 0.0
        async with proxy_of(siege.pilot) as proxy, siege.stream(Claim(), pair=pair) as call:
            await hear(call)
            await proxy.addresses()
            number = 0
            while not done.is_set() or number < 3:
                number += 1
                began = time.monotonic()
                await siege.mesh.west.move_echo(f"10.1.1.{number % 250 + 1}")
                await proxy.addresses()
                longest = max(longest, time.monotonic() - began)
                await siege.certificate(await siege.token())
                await asyncio.sleep(0.5)
        return longest

    async with asyncio.timeout(180):
        silent = asyncio.gather(*(_silent(port) for port in (siege.port, plain) for _ in range(_SILENT)))
        serving = asyncio.ensure_future(be_served())
        await asyncio.gather(*(throw() for _ in range(_RUSH)))
        await silent
        done.set()
        longest = await serving
    assert longest < 10.0
    endings = [line for line in siege.pilot.log if "connection" in line["event"]]
    assert 1 <= len(endings) < 50, "ten thousand faults are not ten thousand lines"
    assert 'isthmus_grpc_faults_total{code="PROTOCOL_ERROR"}' in str(await siege.pilot.page("/metrics"))
    folder = Path(f"/proc/{siege.pilot.process.pid}/fd")
    await eventually(lambda: len(list(folder.iterdir())) < 200)
    assert (await siege.pilot.page("/ready"))[0] == 200
