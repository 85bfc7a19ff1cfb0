"""Process 1 of a container inherits orphans, such as what `kubectl exec` left: they are buried here."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


@asynccontextmanager
async def burying_orphans(spare: int) -> AsyncGenerator[None]:
    """Reap ended children other than `spare` (Envoy, which its own keeper awaits) until the block ends."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCHLD, bury_orphans, spare)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGCHLD)


def bury_orphans(spare: int) -> None:
    """Reap every ended child but `spare`. It looks before it takes, so that `spare` keeps its exit code."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid == spare:
            return
        os.waitpid(ended.si_pid, 0)
