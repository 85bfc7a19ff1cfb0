"""One HTTP/2 connection without its socket: bytes in, calls, bytes out.

h2 is what decides on settings, header compression, pings, resets and the order of frames. DATA and credit
pass by it (`h2_intake`), so that a push costs a connection one write and an ACK next to nothing; an end is
shown to h2 as an empty frame, and an odd frame as it is.
"""

from collections.abc import Callable
from typing import Protocol, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RemoteSettingsChanged, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from isthmus.xds.grpc_request import ENCODINGS, NotGrpc, Request, read_request
from isthmus.xds.grpc_status import CallFailed, Status, trailers
from isthmus.xds.h2_call import Call, End
from isthmus.xds.h2_flow import WIDEST, Budget, ConnectionFailed, Inflow
from isthmus.xds.h2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    WINDOW_UPDATE,
    Frames,
    Parts,
    frame,
    goaway,
    header_block,
    window_update,
)
from isthmus.xds.h2_intake import MOST_FRAME, OTHER, Intake, Piece
from isthmus.xds.limits import Limits

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FIRST_WINDOW = 65_535
_INFLOW = 1024 * 1024
_LARGEST_FRAME = 256 * 1024
_GRPC = (
    (":status", "200"),
    ("content-type", "application/grpc"),
    ("grpc-accept-encoding", ",".join(ENCODINGS)),
)
_GREETING = window_update(0, _INFLOW - _FIRST_WINDOW)
"""The connection's window as wide as a stream's. h2 is not told: what it counts it gives back at once."""
_BLOCK = header_block(_GRPC)
_BLOCK_GZIP = header_block((*_GRPC, ("grpc-encoding", "gzip")))
_CONFIGURATION = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


class _H2(H2Connection):
    MAX_CLOSED_STREAMS = 256


class Socket(Protocol):
    """Where the bytes go, and what is known of the other end."""

    peer: str
    certificate: bytes | None
    paused: bool
    newcomer: bool

    def send(self, parts: Parts) -> None:
        """Send, or keep until it can be sent."""
        ...

    def unused(self) -> None:
        """There is no call, and there will be none."""
        ...

    def abort(self, end: End) -> None:
        """Close at once."""
        ...


class Host(Protocol):
    """The listener, as its sessions use it."""

    limits: Limits
    frames: Frames
    now: Callable[[], float]

    def called(self, call: Call) -> None:
        """Find who answers the call, and have it served. Raises CallFailed."""
        ...

    def woken(self, call: Call) -> None:
        """Have the call's `pump` called soon."""
        ...

    def ended(self, call: Call) -> None:
        """A call that was served or waited for it is over."""
        ...


class HttpSession:
    """A `h2_call.Link` for each of its calls."""

    def __init__(self, host: Host, socket: Socket) -> None:
        self.now = host.now
        self.frames = host.frames
        self.woken = host.woken
        self.ended = host.ended
        self.calls: dict[int, Call] = {}
        self.window = _FIRST_WINDOW
        self.frame_size = MOST_FRAME
        self._host = host
        self._socket = socket
        self._leaving = False
        """Whether no more calls are taken: one side said GOAWAY."""
        self._failed = False
        self._budget = Budget(host.now())
        self._intake = Intake(self._budget, host.limits.metadata_bytes)
        self._inflow = Inflow(_INFLOW)
        self._h2 = _H2(_CONFIGURATION)
        self._h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: host.limits.concurrent,
                SettingCodes.MAX_HEADER_LIST_SIZE: host.limits.metadata_bytes,
                SettingCodes.INITIAL_WINDOW_SIZE: _INFLOW,
                SettingCodes.MAX_FRAME_SIZE: MOST_FRAME,
            },
        )
        self._h2.decoder.max_header_list_size = host.limits.metadata_bytes
        self._h2.initiate_connection()
        self._h2.receive_data(_PREFACE)
        self._socket.send([self._h2.data_to_send(), _GREETING])

    @property
    def spoken(self) -> bool:
        """Whether the peer has begun to speak HTTP/2."""
        return self._intake.spoken

    @property
    def paused(self) -> bool:
        """See `Link`."""
        return self._socket.paused

    @property
    def newcomer(self) -> bool:
        """See `Link`."""
        return self._socket.newcomer

    def receive(self, data: bytes) -> None:
        """Bytes from the peer. Raises ConnectionFailed when it is over; what is to be sent before is sent."""
        if self._failed:
            return
        try:
            for piece in self._intake.cut(data, self.now()):
                self._handle(piece)
            self._flush()
        except ProtocolError as error:
            self._failed = True
            self._flush()  # h2 has its GOAWAY ready.
            raise ConnectionFailed(ErrorCodes(error.error_code), str(error)) from None
        except ConnectionFailed as failure:
            self._failed = True
            self._socket.send([goaway(self._h2.highest_inbound_stream_id, failure.code)])
            raise

    # What its calls use, and the listener.

    def write(self, parts: Parts) -> None:
        """See `Link`."""
        self._budget.sent += sum(map(len, parts))
        self._socket.send(parts)

    def used(self, size: int) -> None:
        """See `Link`."""
        credit = self._inflow.used(size)
        if credit:
            self._socket.send([window_update(0, credit)])

    def credit(self, call: Call, size: int) -> None:
        """See `Link`."""
        self._socket.send([window_update(call.stream_id, size)])

    def accept(self, call: Call) -> None:
        """See `Link`. h2 is not told: to it the trailers are all of the answer's header fields."""
        block = _BLOCK_GZIP if call.gzip else _BLOCK
        self._socket.send([frame(HEADERS, END_HEADERS, call.stream_id, block)])

    def trail(self, call: Call, status: Status, reason: str) -> None:
        """See `Link`."""
        fields = trailers(status, reason) if call.served else [*_GRPC, *trailers(status, reason)]
        self._h2.send_headers(call.stream_id, fields, end_stream=True)
        self._forget(call, End.ENDED, None if call.half_closed else ErrorCodes.NO_ERROR)

    def reset(self, call: Call) -> None:
        """See `Link`."""
        self._forget(call, End.STALLED, ErrorCodes.CANCEL)

    def abandon(self) -> None:
        """See `Link`."""
        self._socket.abort(End.GONE)

    def ping(self) -> None:
        """Have the peer say something."""
        self._h2.ping(b"isthmus?")
        self._flush()

    def leave(self) -> None:
        """Take no more calls (GOAWAY)."""
        if not self._leaving and not self._failed:
            self._leaving = True
            self._socket.send([goaway(self._h2.highest_inbound_stream_id, ErrorCodes.NO_ERROR)])
            if not self.calls:
                self._socket.unused()

    def close(self, end: End) -> None:
        """The connection is over, and so are its calls."""
        self._failed = True
        while self.calls:
            _, call = self.calls.popitem()
            call.close(end)

    # Frames.

    def _handle(self, piece: Piece) -> None:
        if piece.kind == OTHER:
            self._events(self._h2.receive_data(piece.payload))
        elif piece.kind == DATA:
            self._data(piece)
        elif piece.kind == WINDOW_UPDATE:
            self._widen(piece)
        elif piece.stream_id:
            self._events(self._h2.receive_data(frame(*piece)))
        else:
            self._leaving = True
            if not self.calls:
                self._socket.unused()

    def _data(self, piece: Piece) -> None:
        call = self.calls.get(piece.stream_id)
        if call is None or call.half_closed or piece.flags & ~END_STREAM or not call.plain:
            self._events(self._h2.receive_data(frame(*piece)))
            return
        if piece.payload:
            self._arrived(call, piece.payload)
        if piece.flags:
            self._events(self._h2.receive_data(frame(DATA, END_STREAM, piece.stream_id, b"")))

    def _arrived(self, call: Call, payload: bytes) -> None:
        self._inflow.received(len(payload))
        call.inflow.received(len(payload))
        call.receive(payload)

    def _widen(self, piece: Piece) -> None:
        step = int.from_bytes(piece.payload, "big") & WIDEST
        call = self.calls.get(piece.stream_id)
        if not step or (piece.stream_id and call is None):
            self._events(self._h2.receive_data(frame(*piece)))
        elif call is not None:
            if call.widen(step) > WIDEST:
                self._forget(call, End.GONE, ErrorCodes.FLOW_CONTROL_ERROR)
        else:
            self.window += step
            if self.window > WIDEST:
                raise ConnectionFailed(ErrorCodes.FLOW_CONTROL_ERROR, "too wide a window")
            for call in self.calls.values():
                call.widen(0)

    def _events(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case RequestReceived():
                    self._request(event)
                case DataReceived():
                    self._data_seen_by_h2(event)
                case StreamEnded(stream_id=int(stream_id)) if call := self.calls.get(stream_id):
                    call.all_received()
                case StreamReset(stream_id=int(stream_id)) if call := self.calls.get(stream_id):
                    self._forget(call, End.GONE)
                case RemoteSettingsChanged():
                    self._settings(event)
                case _:
                    pass

    def _data_seen_by_h2(self, event: DataReceived) -> None:
        """DATA that h2 has counted in windows of its own: padded, or with a content length."""
        stream_id, size = event.stream_id or 0, event.flow_controlled_length or 0
        call = self.calls.get(stream_id)
        if size:
            self._h2.acknowledge_received_data(size, stream_id)
        if call is not None and event.data:
            self._arrived(call, event.data)

    def _settings(self, event: RemoteSettingsChanged) -> None:
        self.frame_size = min(self._h2.remote_settings.max_frame_size, _LARGEST_FRAME)
        changed = event.changed_settings.get(SettingCodes.INITIAL_WINDOW_SIZE)
        if changed is not None:
            step = changed.new_value - (changed.original_value or 0)
            for call in self.calls.values():
                if call.widen(step) > WIDEST:
                    raise ConnectionFailed(ErrorCodes.FLOW_CONTROL_ERROR, "too wide a window")

    # Calls.

    def _request(self, event: RequestReceived) -> None:
        stream_id = event.stream_id or 0
        if self._leaving:
            self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        try:
            headers = cast("list[tuple[bytes, bytes]]", event.headers)
            self._call(stream_id, read_request(headers, self._socket.peer, self._socket.certificate))
        except NotGrpc as refusal:
            self._refuse(event, (":status", str(refusal.http_status)))
        except CallFailed as failure:
            self._refuse(event, *_GRPC, *trailers(failure.status, failure.reason))

    def _refuse(self, event: RequestReceived, *fields: tuple[str, str]) -> None:
        stream_id = event.stream_id or 0
        self._h2.send_headers(stream_id, fields, end_stream=True)
        if event.stream_ended is None:
            self._h2.reset_stream(stream_id, ErrorCodes.NO_ERROR)

    def _call(self, stream_id: int, request: Request) -> None:
        limits = self._host.limits
        window = self._h2.remote_settings.initial_window_size
        gzip = limits.gzip and request.accepts_gzip
        call = Call(self, stream_id, request, window, Inflow(_INFLOW), limits.message_bytes, gzip=gzip)
        self._host.called(call)
        if not call.over:
            self.calls[stream_id] = call

    def _forget(self, call: Call, end: End, code: ErrorCodes | None = None) -> None:
        self.calls.pop(call.stream_id, None)
        if code is not None:
            self._h2.reset_stream(call.stream_id, code)
        self._flush()
        call.close(end)
        if self._leaving and not self.calls:
            self._socket.unused()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data:
            self._socket.send([data])
