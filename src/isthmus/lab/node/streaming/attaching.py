"""A client at the streams of a container's own program."""

import asyncio
from collections.abc import Mapping
from typing import Any

from isthmus.lab.node.logs import LogFile
from isthmus.lab.node.runtime import ContainerProcess
from isthmus.lab.node.streaming.commands import SUCCESS, copy_in, copy_sizes, failure
from isthmus.lab.node.streaming.conversations import Conversation, Wanted
from isthmus.lib.lifecycle import task_scope

_MOST_WAITING = 1024
"""Pieces of output that wait for one client, before it is left behind: the program is never held up."""


async def attach(
    process: ContainerProcess, log: LogFile, wanted: Wanted, conversation: Conversation
) -> Mapping[str, Any]:
    """Carry what the program says from now on, and what is typed to it, until it or the client ends."""
    said: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(_MOST_WAITING)
    behind = asyncio.Event()

    def hear(stream: str, data: bytes) -> None:
        if said.full():
            behind.set()
        else:
            said.put_nowait((stream, data))

    log.listeners.add(hear)
    try:
        async with task_scope() as scope:
            told = scope.spawn(_tell(said, wanted, conversation), name="output")
            left = scope.spawn(conversation.gone.wait(), name="client")
            lost = scope.spawn(behind.wait(), name="behind")
            if wanted.stdin and process.stdin is not None:
                once = process.state.spec.stdin_once and process.terminal is None
                scope.spawn(copy_in(conversation, process.stdin, close=once), name="stdin")
            if wanted.tty and process.terminal is not None:
                scope.spawn(copy_sizes(conversation, process.terminal), name="sizes")
            await asyncio.wait({told, left, lost}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        log.listeners.discard(hear)
    return failure(OSError("the client read too slowly")) if behind.is_set() else SUCCESS


async def _tell(said: asyncio.Queue[tuple[str, bytes]], wanted: Wanted, conversation: Conversation) -> None:
    while True:
        stream, data = await said.get()
        if not stream:
            return
        if stream == "stderr" and wanted.stderr:
            await conversation.write_error(data)
        elif stream == "stdout" and wanted.stdout:
            await conversation.write_out(data)
