"""Both forms of ADS as services of a gRPC server: what ties calls to the hub."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import structlog

from isthmus.lib.errors import UserError
from isthmus.lib.lifecycle import TaskScope, task_scope
from isthmus.lib.slices import in_slices
from isthmus.model.identity import Identity
from isthmus.model.proxy import Proxy
from isthmus.xds.errors import ProtocolError
from isthmus.xds.grpc_server import serving_grpc
from isthmus.xds.grpc_status import CallFailed, Status
from isthmus.xds.h2_call import Call, End, Handler, Service
from isthmus.xds.hub import Hub
from isthmus.xds.inspection import Inspect, InspectionCall, is_question
from isthmus.xds.limits import DEFAULT, Limits
from isthmus.xds.node import read_node
from isthmus.xds.preparing import NotPreparedError
from isthmus.xds.shelf import Form
from isthmus.xds.wire import read_delta_request, read_request

log = structlog.get_logger()

_SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
_FORMS = {
    _SERVICE + "StreamAggregatedResources": Form.WHOLE,
    _SERVICE + "DeltaAggregatedResources": Form.DELTA,
}
_SWEEP = 5.0
_MOST_EARLY = 64
_TOO_EARLY = "too many requests before the first was answered"
_HEALTH = "type.googleapis.com/istio.v1.HealthInformation"

Admit = Callable[[Proxy, Identity | None], Awaitable[Proxy]]
"""Judges what a proxy says of itself by what it proved (None: nothing), and answers as whom it is served. It
takes a bounded time. Raises CallFailed, and has said so in the log.
"""
Hold = Callable[[Proxy, Callable[[str], None]], Callable[[], None]]
"""Told of each proxy that was judged, with what ends its stream, for a reason, once the proof does
not hold any more; answers what is to be called when the stream is over.
"""


def nobody(proxy: Proxy) -> bool:
    """Whose word is enough, where all are judged."""
    return False


def never_end(proxy: Proxy, end: Callable[[str], None]) -> Callable[[], None]:
    """A `Hold` for proofs that hold for ever."""
    return lambda: None


class _AdsCall:
    """A `h2_call.Service`. Without `proxy` the first request says whose call it is. What it sends waits while
    its scopes are being prepared; from the first request that is heard on, the call and the hub's stream
    speak with each other.
    """

    __slots__ = ("_call", "_early", "_exchange", "_hub")

    def __init__(self, hub: Hub, form: Form, call: Call, proxy: Proxy | None = None) -> None:
        self._hub = hub
        self._call = call
        self._exchange = hub.connect(form, call, proxy)
        self._early: list[bytes] = []

    def receive(self, message: bytes) -> None:
        """See `Service`."""
        if self._early:
            if len(self._early) >= _MOST_EARLY:
                raise CallFailed(Status.RESOURCE_EXHAUSTED, _TOO_EARLY)
            self._early.append(message)
            return
        try:
            self._exchange.receive(message)
        except NotPreparedError:
            self._early.append(message)
        else:
            self._call.forward(self._exchange.receive, self._exchange.take)

    def take(self) -> bytes | None:
        """See `Service`. Nothing is heard yet, or it could not be as nothing was prepared."""
        early, self._early = self._early, []
        heard = _hear(self.receive, early, self._call)
        return self._exchange.take() if heard and not self._early else None

    def half_closed(self) -> None:
        """See `Service`. A proxy that will not answer any more is not served any more."""
        self._call.finish(Status.OK)

    def closed(self, end: End) -> None:
        """See `Service`."""
        if end is End.STALLED:
            self._hub.counters.stalled += 1
        self._exchange.closed()


class _JudgedAdsCall:
    """A `h2_call.Service` for a caller that is judged: its first request is, before the hub hears of it, and
    what it sends meanwhile waits. The health of a workload (Istio: HealthInformation) may be said before that
    and counts for nothing, as whether a Pod is ready its cluster says.
    """

    __slots__ = (
        "_admission",
        "_admit",
        "_call",
        "_early",
        "_form",
        "_hold",
        "_hub",
        "_inspect",
        "_proxy",
        "_release",
        "_served",
        "_tasks",
        "_unjudged",
    )

    def __init__(
        self,
        hub: Hub,
        form: Form,
        admit: Admit,
        hold: Hold,
        inspect: Inspect | None,
        unjudged: Callable[[Proxy], bool],
        tasks: TaskScope,
        call: Call,
    ) -> None:
        self._hub = hub
        self._unjudged = unjudged
        self._inspect = inspect
        self._form = form
        self._admit = admit
        self._hold = hold
        self._release: Callable[[], None] | None = None
        self._tasks = tasks
        self._call = call
        self._early: list[bytes] = []
        self._admission: asyncio.Task[None] | None = None
        self._proxy: Proxy | None = None
        self._served: Service | None = None

    def receive(self, message: bytes) -> None:
        """See `Service`."""
        if len(self._early) >= _MOST_EARLY:
            raise CallFailed(Status.RESOURCE_EXHAUSTED, _TOO_EARLY)
        if self._admission is None:
            identity = self._call.identity
            try:
                asked, node = _asked_by(self._form, message)
                if asked == _HEALTH:
                    return
                if self._inspect is not None and identity is not None and is_question(asked):
                    inspection = InspectionCall(self._inspect, self._form, self._call, identity)
                    self._serve(inspection).receive(message)
                    return
                claimed = read_node(node)
            except ProtocolError as error:
                self._hub.violated(self._call.peer, error)
                raise
            if self._unjudged(claimed):
                self._serve(_AdsCall(self._hub, self._form, self._call, claimed)).receive(message)
                return
            self._admission = self._tasks.spawn(self._judge(claimed, identity), name="ads-admit")
        self._early.append(message)

    def _serve(self, service: Service) -> Service:
        """Give the call to whom it is for."""
        self._served = service
        self._call.forward(service.receive, service.take)
        return service

    async def _judge(self, claimed: Proxy, identity: Identity | None) -> None:
        """Whatever fails in this ends the call alone."""
        try:
            self._proxy = await self._admit(claimed, identity)
            self._release = self._hold(self._proxy, partial(self._call.dismiss, Status.UNAUTHENTICATED))
            self._call.wake()
        except CallFailed as failure:
            self._call.finish(failure.status, failure.reason)
        except Exception:
            log.exception("a proxy cannot be judged", peer=self._call.peer, proxy=claimed.node_id)
            self._call.finish(Status.INTERNAL, "internal error")

    def take(self) -> bytes | None:
        """See `Service`. The hub hears of the proxy here, which is in the turn that a newcomer is given."""
        if self._proxy is None:
            return None
        served = self._serve(_AdsCall(self._hub, self._form, self._call, self._proxy))
        early, self._early = self._early, []
        return served.take() if _hear(served.receive, early, self._call) else None

    def half_closed(self) -> None:
        """See `Service`."""
        self._call.finish(Status.OK)

    def closed(self, end: End) -> None:
        """See `Service`."""
        if self._admission is not None:
            self._admission.cancel()
        if self._release is not None:
            self._release()
        if self._served is not None:
            self._served.closed(end)


def _hear(receive: Callable[[bytes], None], early: Sequence[bytes], call: Call) -> bool:
    """Receive what waited; False where the call failed for it."""
    try:
        for message in early:
            receive(message)
    except CallFailed as failure:
        call.finish(failure.status, failure.reason)
        return False
    return True


def _asked_by(form: Form, message: bytes) -> tuple[str, bytes]:
    """The type that a stream's first request asks for, and its node, which only health may lack."""
    first = read_request(message) if form is Form.WHOLE else read_delta_request(message)
    if not first.node and first.type_url != _HEALTH:
        raise ProtocolError("the stream's first request has no node")
    return first.type_url, first.node


def ads_handlers(hub: Hub) -> Mapping[str, Handler]:
    """What answers both forms, by method, and takes a proxy at its word."""
    return {path: partial(_AdsCall, hub, form) for path, form in _FORMS.items()}


class Ads:
    """ADS of one hub, for any number of listeners; made by `running_ads` only."""

    def __init__(self, hub: Hub, tasks: TaskScope) -> None:
        self._hub = hub
        self._tasks = tasks

    def handlers(self) -> Mapping[str, Handler]:
        """For a listener that asks for no proof: see `ads_handlers`."""
        return ads_handlers(self._hub)

    def judging_handlers(
        self,
        admit: Admit,
        hold: Hold = never_end,
        inspect: Inspect | None = None,
        unjudged: Callable[[Proxy], bool] = nobody,
    ) -> Mapping[str, Handler]:
        """For a listener whose callers are judged. With `inspect`, questions of those who proved who they are
        about the mesh are answered there too. Of whom `unjudged` holds, is served at its word.
        """
        return {
            path: partial(_JudgedAdsCall, self._hub, form, admit, hold, inspect, unjudged, self._tasks)
            for path, form in _FORMS.items()
        }


@asynccontextmanager
async def running_ads(hub: Hub) -> AsyncGenerator[Ads]:
    """ADS, to be served by `serving_grpc` within the block."""
    async with task_scope() as tasks:
        tasks.serve(_sweep(hub), name="ads-sweep")
        tasks.serve(_prepare(hub), name="ads-prepare")
        yield Ads(hub, tasks)


@asynccontextmanager
async def serving_ads(
    address: str, hub: Hub, limits: Limits = DEFAULT, *, ssl_context: ssl.SSLContext | None = None
) -> AsyncGenerator[int]:
    """Serve both forms on `address` (`HOST:PORT`, port 0 for any) to whoever comes, in plain text unless
    there is an `ssl_context`; yields the port.

    Raises UserError when the address cannot be bound.
    """
    async with AsyncExitStack() as stack:
        ads = await stack.enter_async_context(running_ads(hub))
        server = serving_grpc(address, ads.handlers(), limits, ssl_context=ssl_context)
        try:
            port = await stack.enter_async_context(server)
        except OSError as error:
            raise UserError(
                f"Cannot listen for xDS on {address}: {error}. Choose another --xds-address."
            ) from None
        yield port


async def _prepare(hub: Hub) -> None:
    awaited = asyncio.Event()
    hub.preparing.begun = awaited.set
    while True:
        await in_slices(hub.preparing.steps())
        await awaited.wait()
        awaited.clear()


async def _sweep(hub: Hub) -> None:
    while True:
        await asyncio.sleep(_SWEEP)
        hub.sweep()
