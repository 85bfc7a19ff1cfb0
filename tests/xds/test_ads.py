"""Both forms over loopback with a real gRPC client, and clients that misbehave."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import grpc
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from grpc import aio

from isthmus.lib.errors import UserError
from isthmus.model.identity import Identity
from isthmus.model.proxy import Proxy
from isthmus.model.resources import CLUSTER, ENDPOINT
from isthmus.xds.ads import Admit, Hold, never_end, running_ads, serving_ads
from isthmus.xds.grpc_request import Request
from isthmus.xds.grpc_server import serving_grpc
from isthmus.xds.grpc_status import CallFailed, Status
from isthmus.xds.hub import Hub
from isthmus.xds.limits import Limits
from tests.xds.dialogue import node
from tests.xds.fakes import FakeProvider, FakeScope, resource
from tests.xds.tls import Authority

_SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
Call = aio.StreamStreamCall[bytes, bytes]
Served = tuple[int, bytes | None]
"""A port, and the roots of its certificate if it has one."""


@asynccontextmanager
async def calling(
    port: int, method: str = "StreamAggregatedResources", roots: bytes | None = None
) -> AsyncGenerator[Call]:
    """One call on a connection of its own, over TLS if there are `roots`."""
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
    channel = (
        aio.insecure_channel(f"127.0.0.1:{port}", options=options)
        if roots is None
        else aio.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(roots), options=options)
    )
    async with channel:
        call = cast("Call", channel.stream_stream(_SERVICE + method)())
        yield call
        call.cancel()


def asking(type_url: str, *names: str) -> bytes:
    request = discovery_pb2.DiscoveryRequest(node=node(), type_url=type_url, resource_names=names)
    return request.SerializeToString()


async def hear(call: Call) -> dict[bytes, bytes]:
    async with asyncio.timeout(10):
        data = await call.read()
    assert isinstance(data, bytes)
    message = discovery_pb2.DiscoveryResponse.FromString(data)
    ack = discovery_pb2.DiscoveryRequest(type_url=message.type_url, response_nonce=message.nonce)
    if message.type_url == ENDPOINT:
        ack.resource_names.append("a")
    await call.write(ack.SerializeToString())
    return dict(one.value.split(b"=") for one in message.resources)


@pytest.fixture
def scope() -> FakeScope:
    return FakeScope("mesh", resource(CLUSTER, "a", "1"), resource(ENDPOINT, "a", "1"))


@pytest.fixture
def hub(scope: FakeScope) -> Hub:
    return Hub(FakeProvider(scope))


@pytest.fixture(params=["plain", "TLS"])
async def served(request: pytest.FixtureRequest, hub: Hub, tmp_path: Path) -> AsyncGenerator[Served]:
    if request.param == "plain":
        async with serving_ads("127.0.0.1:0", hub) as port:
            yield port, None
    else:
        authority = Authority()
        context = authority.server_context(tmp_path)
        async with serving_ads("localhost:0", hub, Limits(drain=0), ssl_context=context) as port:
            yield port, authority.roots


async def test_the_state_of_the_world_is_served_and_changes_follow(
    hub: Hub, scope: FakeScope, served: Served
) -> None:
    port, roots = served
    async with calling(port, roots=roots) as call:
        await call.write(asking(CLUSTER))
        assert await hear(call) == {b"a": b"1"}
        await call.write(asking(ENDPOINT, "a"))
        assert await hear(call) == {b"a": b"1"}
        hub.publish([scope.put(resource(ENDPOINT, "a", "2"))])
        assert await hear(call) == {b"a": b"2"}


async def test_the_incremental_form_is_served_too(hub: Hub, scope: FakeScope, served: Served) -> None:
    port, roots = served
    async with calling(port, "DeltaAggregatedResources", roots) as call:
        request = discovery_pb2.DeltaDiscoveryRequest(node=node(), type_url=CLUSTER)
        await call.write(request.SerializeToString())
        for version in "12":
            data = await call.read()
            assert isinstance(data, bytes)
            message = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
            assert [(one.name, one.resource.value) for one in message.resources] == [
                ("a", f"a={version}".encode())
            ]
            ack = discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER, response_nonce=message.nonce)
            await call.write(ack.SerializeToString())
            hub.publish([scope.put(resource(CLUSTER, "a", "2"))])


@pytest.mark.parametrize("garbage", [b"\xff\xfe garbage", b"", b"\x22\x03abc", asking("")])
async def test_garbage_ends_its_own_stream_and_no_other(hub: Hub, scope: FakeScope, garbage: bytes) -> None:
    async with serving_ads("127.0.0.1:0", hub) as port, calling(port) as good, calling(port) as bad:
        await good.write(asking(CLUSTER))
        await hear(good)
        await bad.write(garbage)
        assert await bad.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await bad.details()
        hub.publish([scope.put(resource(CLUSTER, "a", "2"))])
        assert await hear(good) == {b"a": b"2"}
        assert hub.counters.violations == 1
        assert len(hub.clients()) == 1


async def test_a_proxy_that_does_not_read_is_dropped_alone(scope: FakeScope) -> None:
    hub = Hub(FakeProvider(scope))
    scope.put(*(resource(CLUSTER, f"big-{index}", "x" * 1_000_000) for index in range(20)))
    async with (
        serving_ads("127.0.0.1:0", hub, Limits(stall=0.2)) as port,
        calling(port) as slow,
        calling(port) as quick,
    ):
        await slow.write(asking(CLUSTER))
        await slow.wait_for_connection()
        await quick.write(asking(ENDPOINT, "a"))
        assert await hear(quick) == {b"a": b"1"}
        async with asyncio.timeout(10):
            while not hub.counters.stalled:  # noqa: ASYNC110 (the transport tells nobody)
                await asyncio.sleep(0.01)
            assert len(hub.clients()) == 1
            assert await slow.code() is grpc.StatusCode.CANCELLED, "it was in the middle of a message"
        hub.publish([scope.put(resource(ENDPOINT, "a", "2"))])
        assert await hear(quick) == {b"a": b"2"}


async def test_a_proxy_that_goes_away_is_forgotten(hub: Hub) -> None:
    async with serving_ads("127.0.0.1:0", hub) as port:
        async with calling(port) as call:
            await call.write(asking(CLUSTER))
            await hear(call)
        async with asyncio.timeout(10):
            while hub.clients():  # noqa: ASYNC110 (the transport tells nobody)
                await asyncio.sleep(0.01)


async def test_more_streams_than_allowed_are_turned_away(hub: Hub) -> None:
    async with serving_ads("127.0.0.1:0", hub, Limits(streams=1)) as port, calling(port) as first:
        await first.write(asking(CLUSTER))
        await hear(first)
        async with calling(port) as second:
            assert await second.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_message_that_is_too_large_is_turned_away(hub: Hub) -> None:
    async with serving_ads("127.0.0.1:0", hub, Limits(message_bytes=1000)) as port, calling(port) as call:
        await call.write(asking(CLUSTER, "x" * 2000))
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_another_method_is_not_implemented(hub: Hub) -> None:
    async with serving_ads("127.0.0.1:0", hub) as port, calling(port, "Nonsense") as call:
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_what_fails_while_it_serves_is_not_taken_for_an_address_in_use(hub: Hub) -> None:
    with pytest.raises(TimeoutError):
        async with serving_ads("127.0.0.1:0", hub):
            raise TimeoutError


async def test_an_address_in_use_says_what_to_do(hub: Hub) -> None:
    async with serving_ads("127.0.0.1:0", hub) as port:
        with pytest.raises(UserError, match=f"127.0.0.1:{port}.*Choose another"):
            async with serving_ads(f"127.0.0.1:{port}", hub):
                pass


ACCOUNT = Identity("cluster.local", "demo", "echo")


@asynccontextmanager
async def judging(hub: Hub, admit: Admit, hold: Hold = never_end) -> AsyncGenerator[int]:
    """ADS for callers that all prove to be `ACCOUNT`."""

    async def authenticate(_: Request) -> Identity:
        return ACCOUNT

    async with (
        running_ads(hub) as ads,
        serving_grpc(
            "127.0.0.1:0", ads.judging_handlers(admit, hold), Limits(drain=0), authenticate=authenticate
        ) as port,
    ):
        yield port


@pytest.mark.parametrize("form", ["whole", "delta"])
async def test_who_proved_something_is_served_as_whom_it_is_judged_to_be(hub: Hub, form: str) -> None:
    free = asyncio.Event()

    async def admit(claimed: Proxy, identity: Identity | None) -> Proxy:
        await free.wait()
        return replace(claimed, pod="found", identity=identity)

    method = "StreamAggregatedResources" if form == "whole" else "DeltaAggregatedResources"
    async with judging(hub, admit) as port, calling(port, method) as call:
        for type_url in (CLUSTER, ENDPOINT):
            delta = discovery_pb2.DeltaDiscoveryRequest(
                node=node(), type_url=type_url, resource_names_subscribe=["a"]
            )
            await call.write(asking(type_url, "a") if form == "whole" else delta.SerializeToString())
        await asyncio.sleep(0.05)
        assert not hub.clients()
        free.set()
        for _ in range(2):
            assert await asyncio.wait_for(call.read(), 10)
        (client,) = hub.clients()
        assert (client.proxy.pod, client.proxy.identity) == ("found", ACCOUNT)
        assert {one.type_url for one in client.types} == {CLUSTER, ENDPOINT}


async def test_whose_word_is_enough_is_served_at_it_and_only_others_are_judged(hub: Hub) -> None:
    async def admit(claimed: Proxy, identity: Identity | None) -> Proxy:
        assert identity is None
        return replace(claimed, pod="judged")

    async with (
        running_ads(hub) as ads,
        serving_grpc(
            "127.0.0.1:0",
            ads.judging_handlers(admit, unjudged=lambda claimed: claimed.pod == "known"),
            Limits(drain=0),
        ) as port,
    ):
        for pod, served in (("known", "known"), ("unknown", "judged")):
            async with calling(port) as call:
                for type_url in (CLUSTER, ENDPOINT):
                    request = discovery_pb2.DiscoveryRequest(
                        node=node(pod), type_url=type_url, resource_names=["a"]
                    )
                    await call.write(request.SerializeToString())
                for _ in range(2):
                    assert await asyncio.wait_for(call.read(), 10)
                assert served in {client.proxy.pod for client in hub.clients()}


async def test_who_is_refused_is_told_so_and_the_hub_never_hears_of_it(hub: Hub) -> None:
    async def admit(claimed: Proxy, identity: Identity | None) -> Proxy:
        match claimed.pod:
            case "liar":
                raise CallFailed(Status.PERMISSION_DENIED, f"{claimed.pod} is not {identity}")
            case "fault":
                raise RuntimeError("a fault")
            case _:
                return claimed

    denied, internal = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INTERNAL
    async with judging(hub, admit) as port:
        for pod, code in (("liar", denied), ("fault", internal)):
            async with calling(port) as call:
                request = discovery_pb2.DiscoveryRequest(node=node(pod), type_url=CLUSTER)
                await call.write(request.SerializeToString())
                assert await asyncio.wait_for(call.code(), 10) is code
            assert not hub.clients()
        async with calling(port) as call:
            await call.write(asking(CLUSTER))
            assert await hear(call) == {b"a": b"1"}
            assert [one.proxy.pod for one in hub.clients()] == ["p"]


async def test_what_is_sent_before_the_judgement_is_bounded_and_garbage_ends_the_call(hub: Hub) -> None:
    async def admit(claimed: Proxy, identity: Identity | None) -> Proxy:
        await asyncio.Event().wait()
        return claimed

    async with judging(hub, admit) as port:
        async with calling(port) as call:
            for _ in range(65):
                await call.write(asking(CLUSTER))
            assert await asyncio.wait_for(call.code(), 10) is grpc.StatusCode.RESOURCE_EXHAUSTED
        for garbage in (b"\xff\xfe garbage", b"", discovery_pb2.DiscoveryRequest().SerializeToString()):
            async with calling(port) as call:
                await call.write(garbage)
                assert await asyncio.wait_for(call.code(), 10) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_whose_proof_ends_is_ended_and_its_caller_comes_back_by_another_connection(
    hub: Hub,
) -> None:
    peers: list[str] = []
    held: list[Callable[[str], None]] = []
    over: list[Proxy] = []

    async def admit(claimed: Proxy, identity: Identity | None) -> Proxy:
        (client,) = [one for one in hub.clients() if one.proxy.node_id == claimed.node_id] or [None]
        assert client is None
        return replace(claimed, identity=identity)

    def hold(proxy: Proxy, end: Callable[[str], None]) -> Callable[[], None]:
        held.append(end)
        return lambda: over.append(proxy)

    async with judging(hub, admit, hold) as port:
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            for count in (1, 2):
                call = cast("Call", channel.stream_stream(_SERVICE + "StreamAggregatedResources")())
                await call.write(asking(CLUSTER))
                assert await hear(call) == {b"a": b"1"}
                peers.append(hub.clients()[0].peer)
                held[-1]("its Pod is gone")
                assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
                assert await call.details() == "its Pod is gone"
                assert (len(over), hub.clients()) == (count, [])
    assert peers[0] != peers[1]
