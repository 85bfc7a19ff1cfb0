"""`python -m bench.proxies`: many proxies in one process, told by JSON lines on standard input what to do.

{"do": "connect", "address": "HOST:PORT", "form": "sotw"|"delta", "count": N, "cluster": NAME, "at_once": K,
 "tls": FOLDER}
    Connects N proxies, K at a time, until each has clusters, endpoints, listeners and routes; over TLS
    (`bench.tls`) unless the folder is "".
{"do": "expect", "needle": TEXT, "timeout": S}
    Answers at once; then, when every proxy got a message with that text, again: arrival times, sorted.
{"do": "recorded"}
    What the first proxy got, in order, base64: the bytes that the floor sends again.
Times are `time.monotonic()`, which all processes of a Linux machine share.
"""

import asyncio
import base64
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from bench.proxy import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    METHODS,
    ROUTE,
    ack_frame,
    bodies,
    endpoint_names,
    first_request,
    node,
    route_names,
    type_and_nonce,
)
from bench.stream import Stream
from bench.tls import client_context

Json = dict[str, Any]


class Names:
    """What is subscribed to. All proxies of a run are alike, so the first one's names serve them all."""

    def __init__(self, form: str) -> None:
        self.form = form
        self._names: dict[str, list[str]] = {CLUSTER: [], LISTENER: []}
        self._acks: dict[str, tuple[bytes, bytes]] = {}

    def after(self, type_url: str, message: bytes) -> tuple[str, list[str]] | None:
        """The type to ask for after the first response of `type_url`, and its names."""
        following = {CLUSTER: ENDPOINT, ENDPOINT: LISTENER, LISTENER: ROUTE}.get(type_url)
        if following is None:
            return None
        if following not in self._names:
            find = endpoint_names if following == ENDPOINT else route_names
            self._names[following] = find(bodies(self.form, message))
        return following, self._names[following]

    def ack(self, type_url: str, nonce: bytes) -> bytes:
        """The ACK of a response."""
        if type_url not in self._acks:
            self._acks[type_url] = ack_frame(self.form, type_url, self._names.get(type_url, []))
        head, tag = self._acks[type_url]
        return head + tag + bytes((len(nonce),)) + nonce


class Expectation:
    """A text that every proxy is to receive."""

    def __init__(self, needle: str, count: int) -> None:
        self.needle = needle.encode()
        self.arrivals: list[float] = []
        self.complete = asyncio.Event()
        self._count = count

    def arrived(self) -> None:
        """One more proxy has it."""
        self.arrivals.append(time.monotonic())
        if len(self.arrivals) == self._count:
            self.complete.set()


class Fleet:
    """All proxies of this process, to one server."""

    def __init__(self, order: Json) -> None:
        self.form: str = order["form"]
        self.names = Names(self.form)
        self.recorded: list[bytes] = []
        self.expected: Expectation | None = None
        self._cluster: str = order["cluster"]
        self._host, _, port = order["address"].rpartition(":")
        self._port = int(port)
        self._tls = client_context(Path(order["tls"])) if order.get("tls") else None
        self._streams: list[Stream] = []

    async def connect(self, count: int, at_once: int) -> None:
        """Connect that many, each until it has one response of every type."""
        gate = asyncio.Semaphore(at_once)

        async def one(index: int) -> None:
            async with gate:
                await self._connect_one(index)

        await one(0)
        await asyncio.gather(*(one(index) for index in range(1, count)))

    async def _connect_one(self, index: int) -> None:
        ready = asyncio.Event()
        seen: set[str] = set()
        waiting: list[float] = []

        def deliver(message: bytes) -> None:
            if (
                self.expected is not None
                and self.expected.needle in message
                and waiting != [id(self.expected)]
            ):
                waiting[:] = [id(self.expected)]
                self.expected.arrived()
            if index == 0:
                self.recorded.append(message)
            type_url, nonce = type_and_nonce(message)
            stream.send(self.names.ack(type_url, nonce))
            if type_url not in seen:
                seen.add(type_url)
                following = self.names.after(type_url, message)
                if following is None or (not following[1] and following[0] != LISTENER):
                    ready.set()
                else:
                    stream.send(first_request(self.form, *following))

        _, stream = await asyncio.get_running_loop().create_connection(
            lambda: Stream(METHODS[self.form], deliver), self._host, self._port, ssl=self._tls
        )
        self._streams.append(stream)
        stream.send(first_request(self.form, CLUSTER, [], node(index, self._cluster)))
        await ready.wait()

    async def expect(self, needle: str, wait: float) -> list[float]:
        """Arrival times of the text at each proxy, sorted; shorter than the fleet after `wait` seconds."""
        self.expected = Expectation(needle, len(self._streams))
        try:
            async with asyncio.timeout(wait):
                await self.expected.complete.wait()
        except TimeoutError:
            pass
        return self.expected.arrivals

    @property
    def count(self) -> int:
        """How many are connected."""
        return len(self._streams)

    @property
    def received(self) -> int:
        """Bytes of messages so far."""
        return sum(stream.received for stream in self._streams)

    @property
    def ended(self) -> int:
        """Streams that the server ended."""
        return sum(stream.ended.is_set() for stream in self._streams)


def _say(answer: Json) -> None:
    print(json.dumps(answer), flush=True)


async def _obey() -> None:
    loop = asyncio.get_running_loop()
    fleet: Fleet | None = None
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order: Json = json.loads(line)
        if order["do"] == "connect":
            fleet = Fleet(order)
            began = time.monotonic()
            await fleet.connect(order["count"], order["at_once"])
            _say({"seconds": time.monotonic() - began, "bytes": fleet.received})
        elif fleet is not None and order["do"] == "expect":
            waiting = asyncio.ensure_future(fleet.expect(order["needle"], order["timeout"]))
            await asyncio.sleep(0)
            _say({"ready": True})
            arrivals = await waiting
            missing = fleet.count - len(arrivals)
            _say({"arrivals": arrivals, "missing": missing, "ended": fleet.ended, "bytes": fleet.received})
        elif fleet is not None and order["do"] == "recorded":
            _say({"messages": [base64.b64encode(one).decode() for one in fleet.recorded]})


if __name__ == "__main__":
    gc.disable()  # The collector's pauses would be measured as the server's.
    uvloop.run(_obey())
