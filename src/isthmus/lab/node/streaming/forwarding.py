"""Forwarded ports: each connection of the client is a pair of streams, one for data and one for an error.

Source: k8s.io/kubelet `portforward`, subprotocol `portforward.k8s.io`. Connections are made in the pod's
network namespace, to its loopback, as container runtimes do.
"""

import asyncio
import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from isthmus.lab.network import NETNS_FOLDER
from isthmus.lab.node.streaming.session import Session, Stream
from isthmus.lib.lifecycle import task_scope

PROTOCOL = "portforward.k8s.io"
TUNNEL_PROTOCOL = f"SPDY/3.1+{PROTOCOL}"
"""The WebSocket subprotocol that carries it (KEP-4006)."""
_CLONE_NEWNET = 0x40000000
_CONNECT_SECONDS = 5.0
_CHUNK = 1 << 15
_MOST_WAITING = 256
_libc = ctypes.CDLL(None, use_errno=True)


async def forward_ports(session: Session, netns: str, pod: str) -> None:
    """Serve a client's connections to the pod until the client leaves."""
    errors: dict[str, Stream] = {}
    async with task_scope() as scope:
        left = scope.spawn(session.ended.wait(), name="client")
        while not left.done():
            accepting = scope.spawn(session.accept(), name="accept")
            await asyncio.wait({left, accepting}, return_when=asyncio.FIRST_COMPLETED)
            if not accepting.done():
                return
            stream = accepting.result()
            request = stream.headers.get("requestid", "")
            kind = stream.headers.get("streamtype", "")
            if kind == "error" and len(errors) < _MOST_WAITING:
                errors[request] = stream
            elif kind == "data" and request in errors:
                scope.spawn(_forward(stream, errors.pop(request), netns, pod), name=f"forward {request}")
            else:
                await stream.drop()


async def _forward(data: Stream, error: Stream, netns: str, pod: str) -> None:
    """One connection; why it failed is told on its error stream, which is finished in any case."""
    with suppress(ConnectionError):
        port = data.headers.get("port", "")
        try:
            await _carry(data, netns, read_port(port))
        except (OSError, TimeoutError, ValueError) as reason:
            why = os.strerror(reason.errno) if isinstance(reason, OSError) and reason.errno else str(reason)
            text = f"error forwarding port {port} to pod {pod}: {why or 'timed out'}"
            await error.write(text.encode())
        finally:
            await data.finish()
            await error.finish()
            await data.drop()
            await error.drop()


def read_port(text: str) -> int:
    """A port's number; ValueError where it is none."""
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise ValueError(f"{text!r} is no port")
    return int(text)


async def _carry(stream: Stream, netns: str, port: int) -> None:
    reader, writer = await _connect(netns, port)
    try:
        async with task_scope() as scope:
            scope.spawn(_upload(stream, writer), name="upload")
            while data := await reader.read(_CHUNK):
                await stream.write(data)
    finally:
        writer.close()


async def _upload(stream: Stream, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await stream.read():
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def _connect(netns: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    with ThreadPoolExecutor(max_workers=1) as thread:  # of its own, for it never leaves that namespace again
        connection = await asyncio.get_running_loop().run_in_executor(
            thread, _socket_in, NETNS_FOLDER / netns
        )
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
            return await asyncio.open_connection(sock=connection)
    except BaseException:
        connection.close()
        raise


def _socket_in(namespace: Path) -> socket.socket:
    """A socket of another network namespace, into which the thread moves."""
    with namespace.open("rb") as other:
        if _libc.setns(other.fileno(), _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"setns: {os.strerror(number)}")
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setblocking(False)
    return made
