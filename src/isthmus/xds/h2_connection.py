"""One TCP or TLS connection: its socket, and whether the peer at its end is alive and reads."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import structlog

from isthmus.xds.grpc_faults import Faults
from isthmus.xds.grpc_status import Status
from isthmus.xds.grpc_turns import Turns
from isthmus.xds.h2_call import Call, End
from isthmus.xds.h2_flow import ConnectionFailed
from isthmus.xds.h2_frames import Parts
from isthmus.xds.h2_link import Host
from isthmus.xds.h2_pages import Shared
from isthmus.xds.h2_session import HttpSession
from isthmus.xds.limits import Limits

log = structlog.get_logger()

_NEW = 5.0
"""Seconds for which a connection is a newcomer, at least."""
_MOST_ARRIVED = 4
_MOST_ENCRYPTED = 16 * 1024
"""Bytes that are given to TLS at once, a record: OpenSSL keeps a buffer for the most that it was given."""
LAST_WORDS = 5.0
"""Seconds that a connection that is to be closed gets for its last bytes."""


class Listener(Host, Protocol):
    """The listener, as its connections use it."""

    turns: Turns
    faults: Faults

    def opened(self, connection: "Connection") -> bool:
        """A connection was accepted; False when it is one too many."""
        ...

    def lost(self, connection: "Connection") -> None:
        """It is closed."""
        ...


class Connection(asyncio.Protocol):
    """A `h2_session.Socket`."""

    def __init__(self, listener: Listener) -> None:
        self.peer = ""
        self.certificate: bytes | None = None
        self.paused = False
        self.newcomer = True
        """For its first seconds, in which it asks for everything."""
        self._arrived: list[bytes] = []
        """What a newcomer sent and nobody has looked at."""
        self._began = listener.now()
        self._listener = listener
        self._limits: Limits = listener.limits
        self._now: Callable[[], float] = listener.now
        self._transport: asyncio.Transport | None = None
        self._secure = False
        self._session: HttpSession | None = None
        self._heard = self._busy = self._now()
        self._pinged = 0.0
        """When it was asked whether it lives, 0 since it said something."""
        self._unread = 0
        """Bytes that the socket had not taken when it was looked at last, and since when it takes none."""
        self._unread_since = 0.0
        self._ending_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)
        address = cast("Sequence[object] | None", transport.get_extra_info("peername"))
        self.peer = f"{address[0]}:{address[1]}" if address else ""
        secure = transport.get_extra_info("ssl_object")
        self._secure = secure is not None
        unknown = secure is not None and secure.selected_alpn_protocol() != "h2"
        if not self._listener.opened(self) or unknown:
            self.abort(End.GONE)
            return
        if secure is not None:
            self.certificate = secure.getpeercert(binary_form=True) or None

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._heard, self._pinged = self._now(), 0.0
        if not self.newcomer and not self._arrived:
            self._receive(data)
            return
        self._arrived.append(data)
        if len(self._arrived) == 1:
            self._listener.turns.newcomer(self._receive_all)
        elif self._transport is not None and len(self._arrived) == _MOST_ARRIVED:
            self._transport.pause_reading()

    def _receive_all(self) -> None:
        arrived = self._arrived
        if len(arrived) == 1:
            self._receive(arrived.pop())
            return
        self._arrived = []
        if len(arrived) >= _MOST_ARRIVED and self._transport is not None and not self._ending_since:
            self._transport.resume_reading()
        self._receive(b"".join(arrived))

    def _receive(self, data: bytes) -> None:
        if self._ending_since:
            return
        try:
            if self._session is None:
                self._session = HttpSession(self._listener, self)
            self._session.receive(data)
        except ConnectionFailed as failure:
            self._listener.faults.note(failure.code.name, self.peer, failure.reason, self._now())
            self._end(End.GONE)
        except Exception:
            log.exception("a connection failed", peer=self.peer)
            self.abort(End.GONE)

    def pause_writing(self) -> None:
        """See asyncio."""
        self.paused = True
        self._unread, self._unread_since = self._unsent(), self._now()

    def resume_writing(self) -> None:
        """See asyncio."""
        self.paused = False
        for call in self._calls():
            call.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._ending_since = self._ending_since or self._now()
        if self._session is not None:
            self._session.close(End.GONE)
        self._listener.lost(self)

    def send(self, parts: Parts) -> None:
        """See `Socket`."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._secure:
            for part in parts:
                for at in range(0, len(part), _MOST_ENCRYPTED):
                    self._transport.write(memoryview(part)[at : at + _MOST_ENCRYPTED])
        elif isinstance(parts[-1], Shared) and not self._transport.get_write_buffer_size():
            self._lend(self._transport, parts, parts[-1])
        elif len(parts) == 1:
            self._transport.write(parts[0])
        else:
            self._transport.writelines(parts)

    def _lend(self, transport: asyncio.Transport, parts: Parts, last: Shared) -> None:
        """Send past the transport, which has nothing to send, what need not be copied into the socket."""
        before = b"".join(parts[:-1])
        pages = last.pages(before)
        if pages is None:
            transport.writelines(parts)
            return
        sent = pages.send(transport.get_extra_info("socket").fileno(), alone=not before)
        if sent < len(before):
            transport.writelines((before[sent:], last))
        elif sent < len(before) + len(last):
            transport.write(memoryview(last)[sent - len(before) :])

    def unused(self) -> None:
        """See `Socket`."""
        self._end(End.ENDED)

    def leave(self) -> None:
        """Take no more calls, and close when there are none."""
        if self._session is None or self._ending_since:
            return
        self._session.leave()

    def end(self, reason: str) -> None:
        """End all calls, so that their callers come back, and close."""
        for call in tuple(self._calls()):
            call.finish(Status.UNAVAILABLE, reason)
            call.pump()
        self._end(End.ENDED)

    def abort(self, end: End) -> None:
        """Close at once; what is not sent is lost."""
        self._ending_since = self._ending_since or self._now()
        if self._session is not None:
            self._session.close(end)
        if self._transport is not None:
            self._transport.abort()

    def _end(self, end: End) -> None:
        if self._ending_since:
            return  # A second `close` takes from asyncio's TLS transport the means to abort.
        self._ending_since = self._now()
        if self._session is not None:
            self._session.close(end)
        if self._transport is not None:
            self._transport.close()

    def _calls(self) -> Sequence[Call]:
        return () if self._session is None else tuple(self._session.calls.values())

    def _unsent(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def patrol(self, now: float) -> None:
        """End what does not speak, answer or read. To be called every few seconds."""
        limits, session = self._limits, self._session
        self.newcomer = self.newcomer and now - self._began < _NEW
        if self._ending_since:
            if now - self._ending_since > LAST_WORDS:
                self.abort(End.GONE)
        elif session is None or not session.spoken:
            if now - self._began > limits.handshake:
                self.abort(End.GONE)
        elif self.paused:
            self._look_whether_it_reads(now)
        else:
            self._look_whether_it_lives(session, now)

    def _look_whether_it_reads(self, now: float) -> None:
        unread = self._unsent()
        if unread != self._unread:
            self._unread, self._unread_since = unread, now
        elif now - self._unread_since > self._limits.stall:
            log.warning("peer does not read its connection", peer=self.peer, seconds=self._limits.stall)
            self.abort(End.STALLED)

    def _look_whether_it_lives(self, session: HttpSession, now: float) -> None:
        limits = self._limits
        if self._pinged and now - self._pinged > limits.keepalive_timeout:
            log.info("peer does not answer", peer=self.peer, seconds=now - self._heard)
            self.abort(End.GONE)
            return
        if not self._pinged and now - self._heard > limits.keepalive:
            self._pinged = now
            session.ping()
        if session.calls:
            self._busy = now
        elif now - self._busy > limits.idle:
            session.leave()
        for call in self._calls():
            if call.blocked_since and now - call.blocked_since > limits.stall:
                log.warning("caller does not read its call", peer=self.peer, seconds=limits.stall)
                call.stalled()
