"""Datagrams through a real relay, over real sockets; only names are looked up in a table."""

import asyncio
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from isthmus.agent.statsd_lines import shortened
from isthmus.agent.statsd_relay import Relay, relaying
from isthmus.lib.address import HostPort
from tests.support.virtual_time import run_in_virtual_time

PATIENCE = 10.0


@dataclass
class Names:
    """A resolver; what it does not know it refuses."""

    known: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    asked: int = 0

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked += 1
        if host not in self.known:
            raise OSError("Name or service not known")
        return self.known[host]


@contextmanager
def listening(address: str, port: int = 0) -> Generator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inlet:
        inlet.setblocking(False)
        inlet.bind((address, port))
        yield inlet


def say(relay: Relay, *lines: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(b"\n".join(lines), ("127.0.0.1", relay.port))


async def heard(inlet: socket.socket) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return await asyncio.get_running_loop().sock_recv(inlet, 65_535)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 -- sockets decide
            await asyncio.sleep(0.01)


async def test_datagrams_go_where_the_name_points_with_their_tags() -> None:
    with listening("127.0.0.1") as inlet:
        port: int = inlet.getsockname()[1]
        async with relaying(HostPort("bridge", port), Names({"bridge": ["127.0.0.1"]})) as relay:
            line = (
                b"envoy.cluster.upstream_rq_total:3|c|#cluster:west,cluster_name:outbound|80||echo.demo.svc"
            )
            await until(lambda: say(relay, line) or relay.relayed)
            assert await heard(inlet) == line.replace(
                b"cluster_name:outbound|80||", b"direction:outbound,port:80,service:"
            )


async def test_what_comes_before_the_name_is_known_is_dropped_and_counted() -> None:
    async with relaying(HostPort("bridge", 9125), Names()) as relay:
        say(relay, b"a:1|c")
        await until(lambda: relay.dropped["unresolved"] == 1)
        assert relay.relayed == 0


async def test_nobody_there_is_counted_and_never_stops_it() -> None:
    with listening("127.0.0.1") as inlet:
        port: int = inlet.getsockname()[1]
    names = Names({"bridge": ["127.0.0.1"]})
    async with relaying(HostPort("bridge", port), names) as relay:
        await until(lambda: say(relay, b"a:1|c") or relay.dropped["refused"] >= 2)
        with listening("127.0.0.1", port) as inlet:
            await until(lambda: say(relay, b"b:1|c") or _receives(inlet, b"b:1|c"))


def _receives(inlet: socket.socket, wanted: bytes) -> bool:
    try:
        return inlet.recv(65_535) == wanted
    except BlockingIOError:
        return False


def test_it_sends_from_another_port_after_each_look_up() -> None:
    """Else a Service's address would lead to the same pod for ever (conntrack)."""

    async def life() -> list[int]:
        senders: list[int] = []
        with listening("127.0.0.1") as inlet:
            target = HostPort("bridge", inlet.getsockname()[1])
            async with relaying(target, Names({"bridge": ["127.0.0.1"]})) as relay:
                for _ in range(3):
                    await asyncio.sleep(20)
                    say(relay, b"a:1|c")
                    await until(lambda: relay.relayed > len(senders))
                    senders.append(inlet.recvfrom(65_535)[1][1])
        return senders

    assert len(set(run_in_virtual_time(life()))) > 1


async def test_it_follows_the_name_when_nobody_is_at_the_old_address() -> None:
    with listening("127.0.0.3") as new:
        port: int = new.getsockname()[1]
        names = Names({"bridge": ["127.0.0.2"]})
        async with relaying(HostPort("bridge", port), names) as relay:
            with listening("127.0.0.2", port) as old:
                await until(lambda: say(relay, b"a:1|c") or _receives(old, b"a:1|c"))
            names.known["bridge"] = ["127.0.0.3"]
            await until(lambda: say(relay, b"b:1|c") or _receives(new, b"b:1|c"))


def test_a_name_is_looked_up_from_time_to_time_though_nothing_fails() -> None:
    async def life() -> None:
        names = Names({"bridge": ["127.0.0.2"]})
        async with relaying(HostPort("bridge", 9125), names):
            await asyncio.sleep(600)
        assert 30 <= names.asked <= 52

    run_in_virtual_time(life())


def test_a_name_that_is_unknown_is_told_once_and_asked_for_ever_more_slowly() -> None:
    async def life() -> None:
        names = Names()
        async with relaying(HostPort("bridge", 9125), names):
            await asyncio.sleep(600)
        assert 40 <= names.asked <= 90

    with capture_logs() as logs:
        run_in_virtual_time(life())
    [line] = logs
    assert line["reason"] == "Name or service not known"


def test_one_of_many_addresses_is_kept_while_it_is_among_them() -> None:
    async def life() -> None:
        names = Names({"bridge": ["127.0.0.2", "127.0.0.3"]})
        async with relaying(HostPort("bridge", 9125), names):
            await asyncio.sleep(600)
            names.known["bridge"] = ["127.0.0.4"]
            await asyncio.sleep(20)

    with capture_logs() as logs:
        run_in_virtual_time(life())
    turns = [line["address"] for line in logs if line["event"] == "statistics are relayed"]
    assert len(turns) == 2
    assert turns[1] == "127.0.0.4"


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        (b"a:0|c|#cluster:west", b""),
        (b"a:0|g|#cluster:west", b"a:0|g|#cluster:west"),
        (b"a:1|c\nb:0|c\nc:2|c", b"a:1|c\nc:2|c"),
        (b"a:1|c|#cluster_name:inbound|8080||", b"a:1|c|#direction:inbound,port:8080"),
        (
            b"a:10|c|#cluster_name:outbound|80|v1|e.d.svc.cluster.local,x:y\nb:1|g",
            b"a:10|c|#direction:outbound,port:80,subset:v1,service:e.d.svc.cluster.local,x:y\nb:1|g",
        ),
        (b"a:1|c|#cluster_name:xds-grpc", b"a:1|c|#cluster_name:xds-grpc"),
    ],
)
def test_lines_are_shortened(line: bytes, sent: bytes) -> None:
    assert shortened(line) == sent


def test_a_tag_goes_before_those_of_each_line() -> None:
    line = b"a:1|c|#namespace:demo\nb:2|g|#namespace:demo"
    assert shortened(line, b"cluster:west,") == line.replace(b"#", b"#cluster:west,")


@given(st.binary())
def test_any_datagram_is_taken(datagram: bytes) -> None:
    assert shortened(shortened(datagram)) == shortened(datagram)
