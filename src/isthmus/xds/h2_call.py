"""One gRPC call on an HTTP/2 connection: messages in, messages out as windows and socket allow, its end.

Messages are pulled from the call's service when there is room to write, so a peer that does not read costs
one message however much becomes due, and nobody waits for it.
"""

from collections.abc import Callable
from enum import Enum
from typing import Protocol

import structlog

from isthmus.model.identity import Identity
from isthmus.xds.grpc_messages import MessageReader
from isthmus.xds.grpc_request import Request
from isthmus.xds.grpc_status import CallFailed, Status
from isthmus.xds.h2_flow import Inflow
from isthmus.xds.h2_frames import Buffer, data_frames
from isthmus.xds.h2_link import Link

log = structlog.get_logger()

_WHOLE = 2 * 1024 * 1024
"""Bytes of a message that is written at once where the windows allow it; a larger one goes by pieces."""
_PIECE = 256 * 1024


class End(Enum):
    """Why a service is told that its call is over."""

    ENDED = "ended"
    GONE = "gone"
    STALLED = "stalled"


class Service(Protocol):
    """What answers one call. None of its methods may block or call back at once."""

    def receive(self, message: bytes) -> None:
        """One whole request message. Raises CallFailed."""
        ...

    def half_closed(self) -> None:
        """The caller will send no more."""
        ...

    def take(self) -> bytes | None:
        """The next message to send, or None until the next `Call.wake`."""
        ...

    def closed(self, end: End) -> None:
        """The call is over. Called once."""
        ...


class Call:
    """An `xds.transport.Wire`, and more. It answers nothing until it is given a service by `serve`."""

    __slots__ = (
        "_begun",
        "_early",
        "_finish",
        "_hear",
        "_link",
        "_pending",
        "_queued",
        "_reader",
        "_service",
        "_take",
        "blocked_since",
        "gzip",
        "half_closed",
        "identity",
        "inflow",
        "over",
        "plain",
        "request",
        "stream_id",
        "window",
    )

    def __init__(
        self,
        link: Link,
        stream_id: int,
        request: Request,
        window: int,
        inflow: Inflow,
        most: int,
        *,
        gzip: bool = False,
    ) -> None:
        self.request = request
        self.identity: Identity | None = None
        """What the caller proved; None on a listener that asks for no proof."""
        self.stream_id = stream_id
        self.window = window
        """What may be sent, in bytes; below 0 after the peer made its windows smaller."""
        self.inflow = inflow
        self.gzip = gzip
        self.plain = "content-length" not in request.headers
        """Whether h2 need not count the bytes of its DATA."""
        self.blocked_since = 0.0
        """When the windows became too small for what there is to send, 0 while they are not."""
        self.half_closed = False
        """Whether the caller will send no more."""
        self.over = False
        self._link = link
        self._reader = MessageReader(most, request.encoding)
        self._service: Service | None = None
        self._hear: Callable[[bytes], None] = _unheard
        self._take: Callable[[], bytes | None] = _nothing
        self._early: list[bytes] = []
        self._pending: memoryview | None = None
        self._begun = False
        """Whether some of what is pending is sent."""
        self._finish: tuple[Status, str] | None = None
        self._queued = False

    @property
    def peer(self) -> str:
        """See `Wire`."""
        return self.request.peer

    def wake(self) -> None:
        """See `Wire`."""
        if not self._queued and not self.over:
            self._queued = True
            self._link.woken(self)

    def finish(self, status: Status, reason: str = "") -> None:
        """End the call, after the message that is being written if some of it is sent already. Within
        `Service.take`: after the message that it gives.
        """
        if self._finish is None:
            self._finish = (status, reason)
            if not self._begun:
                self._pending = None
        self.wake()

    def dismiss(self, status: Status, reason: str) -> None:
        """`finish`, and have the caller come back by a new connection: what this one's TLS proved does not
        hold any more.
        """
        self._link.leave()
        self.finish(status, reason)

    @property
    def served(self) -> bool:
        """Whether it has a service, and so its caller the first header fields."""
        return self._service is not None

    def serve(self, handler: "Handler") -> None:
        """Give it what answers it, and that what was received before. Raises CallFailed."""
        service = self._service = handler(self)
        self.forward(service.receive, service.take)
        self._link.accept(self)
        early, self._early = self._early, []
        for data in early:
            self._link.used(len(data))
            self._use(data, self.inflow.used(len(data)))
        if self.half_closed:
            self._end_input(service)

    def forward(self, receive: Callable[[bytes], None], take: Callable[[], bytes | None]) -> None:
        """Have messages go to and come from these in place of the service's own methods."""
        self._hear, self._take = receive, take

    def receive(self, data: Buffer) -> None:
        """Bytes of DATA. Raises ConnectionFailed when the peer had no leave to send so many."""
        if self._service is None:
            self._link.kept(len(data))
            self.inflow.received(len(data))
            self._early.append(bytes(data))
        else:
            self._use(data, self.inflow.passed(len(data)))

    def _use(self, data: Buffer, credit: int) -> None:
        if credit and not self.half_closed:
            self._link.credit(self, credit)
        if self._finish is not None:
            return
        try:
            for message in self._reader.feed(data):
                self._hear(message)
        except CallFailed as failure:
            self.finish(failure.status, failure.reason)
        except Exception:  # noqa: BLE001 (a fault of one service must not end its connection)
            self._fault()

    def all_received(self) -> None:
        """The caller has half-closed the call."""
        if self.half_closed:
            return
        self.half_closed = True
        if self._service is not None:
            self._end_input(self._service)

    def _end_input(self, service: Service) -> None:
        if self._reader.incomplete:
            self.finish(Status.INTERNAL, "the call's last message is incomplete")
        else:
            service.half_closed()

    def pump(self) -> None:
        """Send what there is, as far as it may be sent now. A fault of ours ends the connection."""
        self._queued = False
        try:
            self._write()
            self._link.pumped()
        except Exception:
            log.exception("a call cannot be written to", peer=self.peer)
            self._link.abandon()

    def _write(self) -> None:
        link = self._link
        while not (self.over or link.paused):
            if self._pending is not None:
                if not self._continue(self._pending):
                    return
            elif self._finish is not None:
                link.trail(self, *self._finish)
                return
            else:
                try:
                    message = self._take()
                except Exception:  # noqa: BLE001 (as in `received`)
                    self._fault()
                    continue
                if message is None:
                    return
                self._send(message)

    def _fault(self) -> None:
        log.exception("a call failed", path=self.request.path, peer=self.peer)
        self.finish(Status.INTERNAL, "internal error")

    def _send(self, message: bytes) -> None:
        link = self._link
        size = len(message) + 5
        if self.gzip or size > self.window or size > link.window or size > _WHOLE:
            self._pending = link.frames.body(message, gzip=self.gzip)
            return
        self.window -= size
        link.window -= size
        link.write([link.frames.of(message, self.stream_id, link.frame_size)])

    def _continue(self, body: memoryview) -> bool:
        """Send a piece of a message. False when the windows are too small for any of it."""
        link = self._link
        size = min(len(body), self.window, link.window, _PIECE)
        if size <= 0:
            self.blocked_since = self.blocked_since or link.now()
            return False
        self.blocked_since = 0.0
        self.window -= size
        link.window -= size
        self._begun = size < len(body)
        self._pending = body[size:] if self._begun else None
        link.write(data_frames(body[:size], self.stream_id, link.frame_size))
        return True

    def widen(self, step: int) -> int:
        """The peer changed its window; the new size. What waited for it goes on."""
        self.window += step
        if self.blocked_since:
            self.wake()
        return self.window

    def stalled(self) -> None:
        """The peer does not read this call: drop it alone."""
        begun = self._begun
        self.close(End.STALLED)
        if begun:
            self._link.reset(self)
        else:
            self._link.trail(self, Status.UNAVAILABLE, "the call was not read for too long")

    def close(self, end: End) -> None:
        """The call is over, and the service is told; twice is harmless."""
        if self.over:
            return
        self.over = True
        self._pending = None
        self._early = []
        if self.inflow.unused:
            self._link.used(self.inflow.unused)
        if self._service is not None:
            self._service.closed(end)
        self._link.ended(self)


def _unheard(message: bytes) -> None:
    """What a call without a service does with a message: none is read for it."""
    raise AssertionError("a message of a call that nobody serves was read")


def _nothing() -> None:
    """What a call without a service has to send."""


Handler = Callable[[Call], Service]
"""Serves the calls of one method. Raises CallFailed where it does not."""
