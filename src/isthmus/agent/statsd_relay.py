"""Envoy's statistics on their way to the statsd bridge: from loopback to wherever its name points now.

Envoy's UDP sinks know only addresses, and the bridge's may change while this pod runs. A datagram is sent on
as it comes or dropped and counted; nothing is queued here, and nothing waits for it.
"""

import asyncio
import random
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NoReturn

import structlog

from isthmus.agent.statsd_lines import shortened
from isthmus.lib.address import HostPort
from isthmus.lib.backoff import Backoff
from isthmus.lib.lifecycle import task_scope
from isthmus.lib.resolving import resolve

logger = structlog.get_logger()

DROPPED = ("unresolved", "refused", "full")
"""Why a datagram is dropped: the name is unknown yet, nobody listens there, the kernel takes no more."""
_LARGEST = 65_535
_BATCH = 64
"""Datagrams before others have their turn."""
_LOOKUP = 15.0
"""Seconds until a name is looked up again, with jitter."""
_PATIENCE = 10.0

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""A name → its addresses, at least one. Raises OSError or TimeoutError."""


async def _look_up(host: str) -> Sequence[str]:
    return await resolve(host, timeout=_PATIENCE)


class Relay:
    """One bound socket, and where its datagrams go; made by `relaying` only."""

    def __init__(self, bound: socket.socket, target: HostPort, resolve: Resolve) -> None:
        self.port: int = bound.getsockname()[1]
        self.relayed = 0
        """Datagrams that were handed to the kernel."""
        self.dropped: Counter[str] = Counter()
        """Those that were not, by reason."""
        self.tag = b""
        """What `shortened` puts before the tags of each line."""
        self._bound = bound
        self._target = target
        self._resolve = resolve
        self._address = ""
        self._out: socket.socket | None = None
        self._failed = asyncio.Event()

    def close(self) -> None:
        """Send nothing more."""
        if self._out is not None:
            self._out.close()
            self._out = None

    def read_batch(self) -> None:
        """Take what there is, as far as others can wait."""
        for _ in range(_BATCH):
            try:
                datagram = self._bound.recv(_LARGEST)
            except OSError:
                return
            self._send(shortened(datagram, self.tag))

    def _send(self, datagram: bytes) -> None:
        if not datagram:
            return
        if self._out is None:
            self.dropped["unresolved"] += 1
            return
        try:
            self._out.send(datagram)
        except BlockingIOError:
            self.dropped["full"] += 1
        except OSError:  # such as ECONNREFUSED, told of a datagram before: nobody listens there any more
            self.dropped["refused"] += 1
            self._failed.set()
        else:
            self.relayed += 1

    async def follow(self) -> NoReturn:
        """Look the target up for ever: from time to time, and soon after nobody was there."""
        backoff, told = Backoff(initial=1.0, cap=_LOOKUP), ""
        while True:
            self._failed.clear()
            try:
                self._turn_to(await self._resolve(self._target.host))
            except (OSError, TimeoutError) as error:
                reason = str(error) or type(error).__name__
                if reason != told:
                    logger.warning("statsd's address is unknown", target=str(self._target), reason=reason)
                told = reason
                await asyncio.sleep(backoff.next_delay())
                continue
            told = ""
            try:
                async with asyncio.timeout(_LOOKUP * random.uniform(0.8, 1.2)):
                    await self._failed.wait()
            except TimeoutError:
                backoff.reset()
            else:
                await asyncio.sleep(backoff.next_delay())

    def _turn_to(self, addresses: Sequence[str]) -> None:
        """Stay where it is if that is still one of these, else go to any; many pods spread over them.

        The socket is a new one in any case: a Service's address leads a socket to the same pod for as long as
        it keeps sending (conntrack), even to one that is gone.
        """
        address = self._address if self._address in addresses else random.choice(addresses)
        out = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            out.setblocking(False)
            out.connect((address, self._target.port))
        except OSError:
            out.close()
            raise
        self.close()
        self._out = out
        if address != self._address:
            self._address = address
            logger.info("statistics are relayed", target=str(self._target), address=address)


@asynccontextmanager
async def relaying(target: HostPort, resolve: Resolve = _look_up) -> AsyncGenerator[Relay]:
    """A UDP port of loopback whose datagrams go to `target`, until the block ends."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.setblocking(False)
        bound.bind(("127.0.0.1", 0))
        relay = Relay(bound, target, resolve)
        loop.add_reader(bound.fileno(), relay.read_batch)
        try:
            async with task_scope() as tasks:
                tasks.serve(relay.follow(), name="statsd-target")
                yield relay
        finally:
            loop.remove_reader(bound.fileno())
            relay.close()
