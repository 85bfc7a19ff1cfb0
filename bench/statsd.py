"""`python -m bench.statsd`: what the statsd bridge costs beside merely receiving the datagrams; prints JSON.

Two processes get the same datagrams: the product (`isthmus statsd-bridge`) and the floor, which has the same
inlet and drops everything. Each is stopped while its socket's buffer is filled and then let go, so that it
reads as fast as it can, as a process does that is never idle. What counts is the CPU time of all its threads:
nothing is lost on the way (checked). Of several rounds in turn the cheapest counts, for other work on the
machine can only add.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import aiohttp

from bench.children import Json, running_child, usage
from bench.plots import plot

METRICS = (
    *((b"rq_%d" % number, b"c") for number in range(14)),
    *((b"cx_%d" % number, b"g") for number in range(3)),
    *((b"rq_time_%d" % number, b"ms") for number in range(3)),
)
ROUNDS = 5
BURSTS = 60
WARM_UP = 20
SERIES = 1000
_DATAGRAM = 1400
_LINES_A_DATAGRAM = (1, 2, 4, 8, 15)
_BUFFER = 160_000
"""Bytes of kernel memory that a burst may take: a share of the least buffer, 212,992 bytes."""


@dataclass(frozen=True, slots=True)
class Load:
    """Datagrams to send again and again, and the lines in each."""

    name: str
    packets: Sequence[bytes]
    lines: int


@dataclass(frozen=True, slots=True)
class Receiver:
    """A process that gets datagrams on `port`; `received` asks how many it has had."""

    pid: int
    port: int
    received: Callable[[], Awaitable[int]]


def loads() -> list[Load]:
    """What a mesh sends: counters for the most part, tagged with where they come from."""
    tags = b"cluster:west,namespace:demo,workload:echo-%d"
    lines = [
        b"envoy.cluster.upstream_%s:%d|%s|#%s" % (name, number % 7 + 1, kind, tags % workload)
        for number, (workload, (name, kind)) in enumerate(product(range(SERIES // len(METRICS)), METRICS))
    ]
    timed = [line + b"|T%d" % number for number, line in enumerate(lines)]
    return [
        Load("one line a datagram", lines, 1),
        _packed("datagrams of 1,400 bytes", lines),
        _packed("every line of a new shape, datagrams of 1,400 bytes", timed),
    ]


def _packed(name: str, lines: Sequence[bytes], each: int = 0) -> Load:
    """So many lines a datagram; 0: as many as fit."""
    each = each or _DATAGRAM // (max(map(len, lines)) + 1)
    packets = [b"\n".join(lines[at : at + each]) for at in range(0, len(lines) - each + 1, each)]
    return Load(name, packets, each)


@asynccontextmanager
async def floor() -> AsyncGenerator[Receiver]:
    """The process that only receives."""
    port = _free_port()
    async with running_child("-m", "bench.statsd_floor", str(port)) as child:
        await child.line()

        async def received() -> int:
            await child.tell("")
            return int(await child.line())

        yield Receiver(child.pid, port, received)


@asynccontextmanager
async def bridge() -> AsyncGenerator[Receiver]:
    """The product."""
    port, http = _free_port(), _free_port(socket.SOCK_STREAM)
    page = f"http://127.0.0.1:{http}"
    command = ("-m", "isthmus.cli.main", "statsd-bridge", "--log-level", "error", "--tcp-address", "")
    addresses = ("--udp-address", f"127.0.0.1:{port}", "--http-address", f"127.0.0.1:{http}")
    async with running_child(*command, *addresses) as child, aiohttp.ClientSession() as session:

        async def received() -> int:
            async with session.get(f"{page}/metrics") as answer:
                found = re.search(r"^statsd_exporter_udp_packets_total (\S+)", await answer.text(), re.M)
            assert found is not None
            return int(float(found[1]))

        async with asyncio.timeout(20):
            while True:
                try:
                    await received()
                    break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.05)
        yield Receiver(child.pid, port, received)


def _free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def measure(receiver: Receiver, load: Load) -> float:
    """CPU seconds a datagram."""
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(("127.0.0.1", receiver.port))
    # The kernel accounts for whole pieces of memory: 768 bytes at least, else about twice the datagram.
    burst = _BUFFER // max(768, 2 * len(load.packets[0]))
    packets = [load.packets[at % len(load.packets)] for at in range(burst * BURSTS)]
    with sender:
        await _send(receiver, sender, packets[: burst * WARM_UP], burst)
        before = await receiver.received()
        spent = usage(receiver.pid).cpu
        await _send(receiver, sender, packets, burst)
        spent = usage(receiver.pid).cpu - spent
        got = await receiver.received() - before
    if got != len(packets):
        raise RuntimeError(f"{len(packets) - got} of {len(packets)} datagrams were lost; measure again")
    return spent / got


async def _send(receiver: Receiver, sender: socket.socket, packets: Sequence[bytes], burst: int) -> None:
    for at in range(0, len(packets), burst):
        os.kill(receiver.pid, signal.SIGSTOP)
        for packet in packets[at : at + burst]:
            sender.send(packet)
        os.kill(receiver.pid, signal.SIGCONT)
        await asyncio.sleep(0.001)
        while _queued(receiver.port):  # noqa: ASYNC110 - another process' socket tells nobody
            await asyncio.sleep(0.001)


def _queued(port: int) -> bool:
    """Whether datagrams wait in the socket's buffer."""
    address = f":{port:04X}"
    with open("/proc/net/udp") as table:
        return any(
            row[1].endswith(address) and not row[4].endswith(":00000000") for row in map(str.split, table)
        )


async def run(measured: Sequence[Load]) -> Json:
    """Loads on both processes."""
    results = list[Json]()
    for load in measured:
        floor_costs, costs = list[float](), list[float]()
        async with floor() as bare, bridge() as ours:
            for _ in range(ROUNDS):
                floor_costs.append(await measure(bare, load))
                costs.append(await measure(ours, load))
            memory = usage(ours.pid).memory
        floor_cost, cost = min(floor_costs), min(costs)
        results.append(
            {
                "load": load.name,
                "lines_a_datagram": load.lines,
                "floor_lines_per_second": round(load.lines / floor_cost),
                "bridge_lines_per_second": round(load.lines / cost),
                "ratio": round(floor_cost / cost, 3),
                "us_per_line": round((cost - floor_cost) / load.lines * 1e6, 3),
                "memory_mib": round(memory / 2**20, 1),
            }
        )
    return {"bench": "statsd", "series": SERIES, "unit": "per CPU second of the process", "loads": results}


def draw(file: Path) -> None:
    """Plot lines a second by lines a datagram."""
    single = loads()[0].packets
    packed = [_packed("", single, each) for each in _LINES_A_DATAGRAM]
    found = asyncio.run(run(packed))["loads"]
    series = {
        name: [(one["lines_a_datagram"], one[f"{side}_lines_per_second"]) for one in found]
        for name, side in (("received only", "floor"), ("bridge", "bridge"))
    }
    plot(file, "statsd on one core", "lines a datagram", "lines a second of CPU", series)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench.statsd")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw it too, by lines a datagram")
    options = parser.parse_args()
    print(json.dumps(asyncio.run(run(loads())), indent=1))
    if options.plot is not None:
        draw(options.plot)


if __name__ == "__main__":
    main()
