"""Both forms of ADS as services of a gRPC server: what ties calls to the hub."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial

import structlog

from isthmus.lib.errors import UserError
from isthmus.lib.lifecycle import task_scope
from isthmus.xds.errors import ProtocolError
from isthmus.xds.grpc_server import Authenticate, serving_grpc
from isthmus.xds.grpc_status import CallFailed, Status
from isthmus.xds.h2_call import Call, End, Handler
from isthmus.xds.hub import Hub
from isthmus.xds.limits import DEFAULT, Limits
from isthmus.xds.shelf import Form

log = structlog.get_logger()

_SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
_FORMS = {
    _SERVICE + "StreamAggregatedResources": Form.WHOLE,
    _SERVICE + "DeltaAggregatedResources": Form.DELTA,
}
_SWEEP = 5.0


class _AdsCall:
    """A `h2_call.Service`."""

    __slots__ = ("_call", "_exchange", "_hub", "take")

    def __init__(self, hub: Hub, form: Form, call: Call) -> None:
        self._hub = hub
        self._call = call
        self._exchange = hub.connect(form, call)
        self.take = self._exchange.take

    def receive(self, message: bytes) -> None:
        """See `Service`."""
        try:
            self._exchange.receive(message)
        except ProtocolError as error:
            self._hub.counters.violations += 1
            log.warning("proxy broke the xDS protocol", peer=self._call.peer, reason=str(error))
            raise CallFailed(Status.INVALID_ARGUMENT, str(error)) from None

    def half_closed(self) -> None:
        """See `Service`. A proxy that will not answer any more is not served any more."""
        self._call.finish(Status.OK)

    def closed(self, end: End) -> None:
        """See `Service`."""
        if end is End.STALLED:
            self._hub.counters.stalled += 1
        self._exchange.closed()


def ads_handlers(hub: Hub) -> Mapping[str, Handler]:
    """What answers both forms, by method."""
    return {path: partial(_AdsCall, hub, form) for path, form in _FORMS.items()}


@asynccontextmanager
async def serving_ads(
    address: str,
    hub: Hub,
    limits: Limits = DEFAULT,
    *,
    ssl_context: ssl.SSLContext | None = None,
    authenticate: Authenticate | None = None,
) -> AsyncGenerator[int]:
    """Serve both forms of ADS on `address` (`HOST:PORT`, port 0 for any), in plain text unless there is an
    `ssl_context`; yields the port.

    Raises UserError when the address cannot be bound.
    """
    try:
        handlers = ads_handlers(hub)
        server = serving_grpc(address, handlers, limits, ssl_context=ssl_context, authenticate=authenticate)
        async with server as port, task_scope() as tasks:
            tasks.serve(_sweep(hub), name="ads-sweep")
            yield port
    except OSError as error:
        raise UserError(
            f"Cannot listen for xDS on {address}: {error}. Choose another --xds-address."
        ) from None


async def _sweep(hub: Hub) -> None:
    while True:
        await asyncio.sleep(_SWEEP)
        hub.sweep()
