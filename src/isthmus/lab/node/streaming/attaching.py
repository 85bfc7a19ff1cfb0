"""A client at the streams of a container's own program."""

import asyncio
from collections.abc import Mapping
from typing import Any

from isthmus.lab.node.logs import LogFile, follow_streams
from isthmus.lab.node.streaming.commands import SUCCESS
from isthmus.lab.node.streaming.conversations import Conversation, Wanted
from isthmus.lib.lifecycle import task_scope


async def attach(log: LogFile, wanted: Wanted, conversation: Conversation) -> Mapping[str, Any]:
    """Tell the client what the program says from now on, until it or the client ends."""
    async with task_scope() as scope:
        told = scope.spawn(_tell(log, wanted, conversation), name="output")
        left = scope.spawn(conversation.gone.wait(), name="client")
        await asyncio.wait({told, left}, return_when=asyncio.FIRST_COMPLETED)
    return SUCCESS


async def _tell(log: LogFile, wanted: Wanted, conversation: Conversation) -> None:
    async for stream, text in follow_streams(log):
        if stream == "stderr" and wanted.stderr:
            await conversation.write_error(text)
        elif wanted.stdout:
            await conversation.write_out(text)
