"""`python -m bench.floor FILE [FOLDER]`: the floor, an empty `grpc.aio` server that sends given bytes and
thinks nothing; over TLS by the certificates of FOLDER.

FILE holds base64 messages, one a line: the answers to a stream's first requests, in order. ACKs are read and
dropped, as any server must. A line on standard input, base64, is sent to every stream; the answer is the time
when the sending began. The first line on standard output is the port.
"""

import asyncio
import base64
import gc
import json
import sys
import time
from pathlib import Path

import grpc
import uvloop
from grpc import aio

from bench.proxy import METHODS
from bench.tls import server_credentials

Context = aio.ServicerContext[bytes, bytes]


class Floor(grpc.GenericRpcHandler):
    """Answers and broadcasts."""

    def __init__(self, answers: list[bytes]) -> None:
        self.contexts: list[Context] = []
        self._answers = answers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        delta = handler_call_details.method == METHODS["delta"]

        async def serve(_requests: object, context: Context) -> None:
            await self._serve(0x32 if delta else 0x2A, context)

        return grpc.stream_stream_rpc_method_handler(serve)

    async def _serve(self, nonce_tag: int, context: Context) -> None:
        self.contexts.append(context)
        answers = iter(self._answers)
        while (request := await context.read()) is not aio.EOF:
            if not _is_ack(request, nonce_tag) and (answer := next(answers, None)) is not None:
                await context.write(answer)

    async def broadcast(self, message: bytes) -> None:
        """The same bytes to every stream, as fast as grpc.aio can."""
        await asyncio.gather(*(context.write(message) for context in self.contexts))


def _is_ack(request: bytes, nonce_tag: int) -> bool:
    """Whether it ends in a nonce, of at most 20 bytes. Looking at the tail is all the parsing that the floor
    does.
    """
    return any(request[-size - 2 : -size] == bytes((nonce_tag, size)) for size in range(1, 21))


async def _serve(file: Path, tls: Path | None) -> None:
    floor = Floor([base64.b64decode(line) for line in file.read_text().splitlines()])
    server = aio.server(options=(("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1)))
    server.add_generic_rpc_handlers((floor,))
    port = (
        server.add_insecure_port("127.0.0.1:0")
        if tls is None
        else server.add_secure_port("127.0.0.1:0", server_credentials(tls))
    )
    await server.start()
    print(port, flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        message = base64.b64decode(line)
        began = time.monotonic()
        await floor.broadcast(message)
        print(json.dumps({"began": began}), flush=True)
    await server.stop(0)


if __name__ == "__main__":
    gc.disable()  # An empty server makes no garbage, and looking for it would flatter ours.
    uvloop.run(_serve(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
