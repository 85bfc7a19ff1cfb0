import asyncio
import socket

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from isthmus.lib.address import HostPort
from isthmus.lib.errors import UserError
from isthmus.statsd.bridge import Bridge
from isthmus.statsd.counts import Counts
from isthmus.statsd.line import LONGEST_LINE
from isthmus.statsd.metrics import BridgeMetrics, names_in
from isthmus.statsd.pages import serving_metrics
from isthmus.statsd.tcp import receiving_streams
from isthmus.statsd.udp import receiving_datagrams
from tests.statsd.kit import bridge, shown

HERE = HostPort("127.0.0.1", 0)


async def lines(bridge: Bridge, count: int) -> None:
    async with asyncio.timeout(5):
        while bridge.counts.lines < count:  # noqa: ASYNC110 - the bridge tells nobody of a line
            await asyncio.sleep(0)


async def test_datagrams_are_taken():
    taken = bridge()
    async with receiving_datagrams(HERE, taken.take, taken.counts) as bound:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(100):
                sender.sendto(b"a:1|c\nb:1|c", ("127.0.0.1", bound.port))
            await lines(taken, 200)
    assert shown(taken) == {"a": 100, "b": 100}
    assert (taken.counts.udp_packets, bound.drops()) == (100, 0)


async def test_datagrams_that_the_kernel_drops_are_known():
    taken = bridge()
    async with receiving_datagrams(HERE, taken.take, taken.counts) as bound:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            # Nothing is read while this loop does not give way.
            for _ in range(100_000):
                sender.sendto(b"a:1|c", ("127.0.0.1", bound.port))
                if bound.drops():
                    break
        assert bound.drops() == 1


async def test_a_line_split_over_segments_is_whole_again():
    taken = bridge()
    async with receiving_streams(HERE, taken.take, taken.counts) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in (b"a:1|c\r\na:", b"1", b"|c\nb:", b"2|g"):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        writer.close()
        await writer.wait_closed()
        await lines(taken, 3)
    assert shown(taken) == {"a": 2, "b": 2}


async def test_a_line_too_long_ends_its_connection_and_no_other():
    taken = bridge()
    async with receiving_streams(HERE, taken.take, taken.counts) as port:
        _, good = await asyncio.open_connection("127.0.0.1", port)
        reader, bad = await asyncio.open_connection("127.0.0.1", port)
        bad.write(b"a:1|c\n" + b"x" * (LONGEST_LINE + 1))
        assert await reader.read() == b""
        good.write(b"b:1|c\n")
        await lines(taken, 2)
        for writer in (bad, good):
            writer.close()
            await writer.wait_closed()
    assert shown(taken) == {"a": 1, "b": 1}
    assert (taken.counts.tcp_too_long_lines, taken.counts.tcp_connections) == (1, 2)


async def test_an_address_in_use_is_named():
    counts = Counts()
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = HostPort("127.0.0.1", busy.getsockname()[1])
        with pytest.raises(UserError, match=f"TCP address {address} cannot be used"):
            async with receiving_streams(address, lambda _: None, counts):
                pass
        with pytest.raises(UserError, match=f"HTTP address {address} cannot be used"):
            async with serving_metrics(address, CollectorRegistry(), bridge().families):
                pass
    async with receiving_datagrams(HERE, lambda _: None, counts) as bound:
        address = HostPort("127.0.0.1", bound.port)
        with pytest.raises(UserError, match=f"UDP address {address} cannot be used"):
            async with receiving_datagrams(address, lambda _: None, counts):
                pass


async def test_the_page_shows_the_bridge_and_its_clients_and_each_name_once():
    taken = bridge("mappings: [{match: d, action: drop}]")
    own = CollectorRegistry()
    own.register(BridgeMetrics(taken, lambda: 3))
    taken.families.reserve(names_in(own))
    taken.take(b"a:1|c\nd:1|c\nbad\nstatsd_exporter_lines_total:1|c\nstatsd_bridge_series:1|g\na:1|g")
    async with serving_metrics(HERE, own, taken.families) as port, aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            text = await answer.text()
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        for path in ("/-/healthy", "/-/ready", "/"):
            async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                assert answer.status == 200
    types = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len({line.split()[2] for line in types})
    for line in (
        "a 1",
        "statsd_exporter_lines_total 6.0",
        "statsd_exporter_udp_packet_drops_total 3.0",
        'statsd_exporter_events_total{type="counter"} 1.0',
        'statsd_exporter_events_actions_total{action="drop"} 1.0',
        'statsd_exporter_sample_errors_total{reason="malformed_line"} 1.0',
        'statsd_exporter_events_conflict_total{metric_name="a",type="gauge"} 1.0',
        'statsd_exporter_events_conflict_total{metric_name="statsd_bridge_series",type="gauge"} 1.0',
        "statsd_exporter_loaded_mappings 1.0",
        'statsd_exporter_metrics_total{type="counter"} 1.0',
    ):
        assert line in text.splitlines()
