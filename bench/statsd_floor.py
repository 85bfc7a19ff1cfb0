"""`python -m bench.statsd_floor PORT`: receives datagrams as the bridge does, and drops them.

A line on standard input is answered with the number of datagrams so far. The first line says it is bound.
"""

import asyncio
import sys

import uvloop

from isthmus.lib.address import HostPort
from isthmus.statsd.counts import Counts
from isthmus.statsd.udp import receiving_datagrams


def _drop(_packet: bytes) -> None:
    pass


async def _serve(port: int) -> None:
    counts = Counts()
    async with receiving_datagrams(HostPort("127.0.0.1", port), _drop, counts):
        print("bound", flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(counts.udp_packets, flush=True)


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
