"""Statsd over UDP: datagrams read as fast as they come, in batches, and handed on as they are.

What the kernel drops, because its buffer was full, is known by the socket's line in /proc/net/udp.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from isthmus.lib.address import HostPort
from isthmus.lib.errors import UserError
from isthmus.statsd.counts import Counts

_LARGEST = 65_535
_BATCH = 256
"""Datagrams before others have their turn: some 3 ms of work, if they have 1,400 bytes."""
BUFFER_BYTES = 8 * 1024 * 1024
"""What is asked for; the kernel gives at most net.core.rmem_max."""


class DatagramSocket:
    """A bound socket that is read; made by `receiving_datagrams` only."""

    def __init__(self, bound: socket.socket) -> None:
        self._inode = os.fstat(bound.fileno()).st_ino
        self._table = Path("/proc/net/udp6" if bound.family == socket.AF_INET6 else "/proc/net/udp")
        self.port: int = bound.getsockname()[1]

    def drops(self) -> int:
        """Datagrams that the kernel dropped; 0 where it does not say."""
        try:
            rows = self._table.read_text().splitlines()[1:]
        except OSError:
            return 0
        # Columns as in proc(5): the tenth is the inode, the last the drops.
        return sum(int(row[-1]) for row in map(str.split, rows) if int(row[9]) == self._inode)


@asynccontextmanager
async def receiving_datagrams(
    address: HostPort, take: Callable[[bytes], None], counts: Counts
) -> AsyncGenerator[DatagramSocket]:
    """Hand every datagram to `take`, which must not wait. UserError for an address that cannot be used."""
    bound = _bind(address)
    loop = asyncio.get_running_loop()
    receive = bound.recv

    def read_batch() -> None:
        for _ in range(_BATCH):
            try:
                packet = receive(_LARGEST)
            except BlockingIOError:
                return
            counts.udp_packets += 1
            take(packet)

    loop.add_reader(bound.fileno(), read_batch)
    try:
        yield DatagramSocket(bound)
    finally:
        loop.remove_reader(bound.fileno())
        bound.close()


def _bind(address: HostPort) -> socket.socket:
    try:
        family, _, _, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        raise _unusable(address, error) from error
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        bound.bind(place)
    except OSError as error:
        bound.close()
        raise _unusable(address, error) from error
    return bound


def _unusable(address: HostPort, error: OSError) -> UserError:
    return UserError(
        f"The UDP address {address} cannot be used: {error.strerror}; "
        "free it or name another (--udp-address)."
    )
