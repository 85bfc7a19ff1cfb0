"""ADS over `grpc.aio`: the only module here that knows gRPC. Messages pass as bytes; nothing is parsed.

A stream has two tasks: one reads, one writes what the hub has when it is woken. A write that the peer does
not take for `stall` seconds takes the stream from the hub, and it ends as soon as that write does: a proxy
that is stuck costs one message, and one that comes back connects anew and gets the latest state.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc import aio

from isthmus.lib.errors import UserError
from isthmus.lib.lifecycle import task_scope
from isthmus.xds.errors import ProtocolError
from isthmus.xds.hub import Hub
from isthmus.xds.shelf import Form
from isthmus.xds.transport import Exchange

log = structlog.get_logger()

_SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
_FORMS = {
    _SERVICE + "StreamAggregatedResources": Form.WHOLE,
    _SERVICE + "DeltaAggregatedResources": Form.DELTA,
}
_SWEEP = 5.0

_Context = aio.ServicerContext[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a listener allows. Times in seconds."""

    streams: int = 20_000
    message_bytes: int = 4 * 1024 * 1024
    metadata_bytes: int = 16 * 1024
    stall: float = 60.0
    keepalive: float = 30.0


class _Stream:
    """A `Wire` over one call. `status` is what it ends with, None while it goes on."""

    def __init__(self, context: _Context) -> None:
        self.peer = context.peer()
        self.woken = asyncio.Event()
        self.writing_since = 0.0
        self.status: tuple[grpc.StatusCode, str] | None = None

    def wake(self) -> None:
        """See `Wire`."""
        self.woken.set()

    def finish(self, code: grpc.StatusCode, reason: str = "") -> None:
        """End after the message that is being written: gRPC sends no status while one is on its way."""
        self.status = self.status or (code, reason)
        self.woken.set()


class _Ads(grpc.GenericRpcHandler):
    def __init__(self, hub: Hub, limits: Limits) -> None:
        self._hub = hub
        self._limits = limits
        self._streams: dict[_Stream, Exchange] = {}

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        form = _FORMS.get(handler_call_details.method)
        if form is None:
            return None

        async def serve(_requests: object, context: _Context) -> None:
            await self._serve(form, context)

        handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(serve)
        return handler

    async def _serve(self, form: Form, context: _Context) -> None:
        stream = _Stream(context)
        exchange = self._streams[stream] = self._hub.connect(form, stream)
        try:
            async with task_scope() as tasks:
                tasks.spawn(self._read(stream, exchange, context), name="ads-read")
                code, reason = await _write(stream, exchange, context)
            if code is not grpc.StatusCode.OK:
                await context.abort(code, reason)
        finally:
            del self._streams[stream]
            exchange.closed()

    async def _read(self, stream: _Stream, exchange: Exchange, context: _Context) -> None:
        while (message := await context.read()) is not aio.EOF:
            try:
                exchange.receive(message)
            except ProtocolError as error:
                self._hub.counters.violations += 1
                log.warning("proxy broke the xDS protocol", peer=stream.peer, reason=str(error))
                stream.finish(grpc.StatusCode.INVALID_ARGUMENT, str(error))
                return
        stream.finish(grpc.StatusCode.OK)

    async def patrol(self) -> None:
        """End streams that do not read, and let the hub look at those that do not answer."""
        while True:
            await asyncio.sleep(min(_SWEEP, self._limits.stall))
            self._hub.sweep()
            latest = time.monotonic() - self._limits.stall
            for stream, exchange in self._streams.items():
                if 0.0 < stream.writing_since < latest and stream.status is None:
                    self._hub.counters.stalled += 1
                    log.warning(
                        "proxy does not read its stream", peer=stream.peer, seconds=self._limits.stall
                    )
                    stream.finish(grpc.StatusCode.UNAVAILABLE, "the stream was not read for too long")
                    exchange.closed()


async def _write(stream: _Stream, exchange: Exchange, context: _Context) -> tuple[grpc.StatusCode, str]:
    """Write whatever becomes due until the stream is to end; how it is to end."""
    while stream.status is None:
        await stream.woken.wait()
        stream.woken.clear()
        while stream.status is None and (message := exchange.take()) is not None:
            stream.writing_since = time.monotonic()
            await context.write(message)
            stream.writing_since = 0.0
    return stream.status


@asynccontextmanager
async def serving_ads(address: str, hub: Hub, limits: Limits = Limits()) -> AsyncGenerator[int]:
    """Serve both forms of ADS in plain text on `address` (`HOST:PORT`, port 0 for any); yields the port.

    Raises UserError when the address cannot be bound.
    """
    server = aio.server(
        maximum_concurrent_rpcs=limits.streams,
        options=(
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", limits.message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", limits.metadata_bytes),
            ("grpc.keepalive_time_ms", int(limits.keepalive * 1000)),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ),
    )
    ads = _Ads(hub, limits)
    server.add_generic_rpc_handlers((ads,))
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise UserError(
            f"Cannot listen for xDS on {address}: {error}. Choose another --xds-address."
        ) from None
    await server.start()
    try:
        async with task_scope() as tasks:
            tasks.serve(ads.patrol(), name="ads-patrol")
            yield port
    finally:
        await server.stop(grace=0)
