"""One HTTP/2 connection without its socket: bytes in, calls, bytes out.

h2 is what decides on settings, header compression, pings, resets and the order of frames. DATA and credit
pass it by, so that a push costs a connection one write and an ACK next to nothing, and so does what is plain
of an opening (`h2_opening`); an end is shown to h2 as an empty frame, and an odd frame as it is. A thousand
proxies that acknowledge a push send a thousand messages: h2 spends more on a DATA frame than the hub does on
the message in it.
"""

from functools import lru_cache
from typing import cast

from h2.errors import ErrorCodes
from h2.events import DataReceived, RemoteSettingsChanged, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from isthmus.xds.grpc_request import ENCODINGS, Head, NotGrpc, Request, read_head
from isthmus.xds.grpc_status import CallFailed, Status, trailers
from isthmus.xds.h2_call import Call, End
from isthmus.xds.h2_engine import INFLOW, Engine, greeting
from isthmus.xds.h2_flow import WIDEST, Budget, ConnectionFailed, Inflow
from isthmus.xds.h2_frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    FIRST_WINDOW,
    GOAWAY,
    HEADERS,
    SETTINGS,
    WINDOW_UPDATE,
    Parts,
    data_frames,
    frame,
    goaway,
    header_block,
    window_update,
)
from isthmus.xds.h2_intake import MOST_FRAME, OTHER, Intake
from isthmus.xds.h2_link import Host, Socket
from isthmus.xds.h2_opening import Fields, read_first_fields, read_settings
from isthmus.xds.h2_outlet import Outlet

_LARGEST_FRAME = 256 * 1024
_GRPC = (
    (":status", "200"),
    ("content-type", "application/grpc"),
    ("grpc-accept-encoding", ",".join(ENCODINGS)),
)
_BLOCK = header_block(_GRPC)
_BLOCK_GZIP = header_block((*_GRPC, ("grpc-encoding", "gzip")))
_MOST_USUAL = 512
"""Bytes of a header block that is remembered: one with a token in it is longer, and nobody else's."""
_SETTINGS_ACK = frame(SETTINGS, ACK, 0, b"")


@lru_cache(maxsize=64)
def _accepting(stream_id: int, gzip: bool) -> bytes:
    return frame(HEADERS, END_HEADERS, stream_id, _BLOCK_GZIP if gzip else _BLOCK)


@lru_cache(maxsize=256)
def _usual_head(block: bytes, most: int) -> Head | None:
    """Path and headers out of a connection's first header block, remembered for those who send the same; None
    for one that is to be looked at further. `most` is as for `read_first_fields`.
    """
    fields = read_first_fields(block, most)
    try:
        return None if fields is None else read_head(fields)
    except NotGrpc:
        return None


class HttpSession:
    """A `h2_call.Link` for each of its calls."""

    def __init__(self, host: Host, socket: Socket) -> None:
        self.now = host.now
        self.frames = host.frames
        self.ended = host.ended
        self.calls: dict[int, Call] = {}
        self.window = FIRST_WINDOW
        self.frame_size = MOST_FRAME
        self._host = host
        self._socket = socket
        self._stream_window = FIRST_WINDOW
        """What a peer lets be sent on a call that begins."""
        self._highest = 0
        """The latest call's stream."""
        self._leaving = False
        """Whether no more calls are taken: one side said GOAWAY."""
        self._failed = False
        self._settled = self._acknowledged = False
        """Whether the peer's SETTINGS came, and its word that it has ours."""
        self._budget = Budget(host.now)
        self._intake = Intake(self._budget, host.limits.metadata_bytes)
        self._inflow = Inflow(INFLOW)
        self.engine = Engine(host.limits)
        self._outlet = Outlet(socket.send, self.engine, greeting(host.limits))
        self.pumped = self._outlet.pumped

    @property
    def spoken(self) -> bool:
        """Whether the peer has begun to speak HTTP/2."""
        return self._intake.spoken

    @property
    def paused(self) -> bool:
        """See `Link`."""
        return self._socket.paused

    def receive(self, data: bytes) -> None:
        """Bytes from the peer. Raises ConnectionFailed when it is over; what is to be sent before is sent."""
        if self._failed:
            return
        self._outlet.begin()
        try:
            for kind, flags, stream_id, payload in self._intake.cut(data):
                if kind == DATA:
                    self._data(flags, stream_id, payload)
                else:
                    self._handle(kind, flags, stream_id, payload)
        except ProtocolError as error:
            self._failed = True  # h2 has its GOAWAY ready.
            raise ConnectionFailed(ErrorCodes(error.error_code), str(error)) from None
        except ConnectionFailed as failure:
            self._failed = True
            self._outlet.add(goaway(self._highest, failure.code))
            raise
        finally:
            self._outlet.end(at_once=self._failed)

    # What its calls use, and the listener.

    def woken(self, call: Call) -> None:
        """See `Link`."""
        self._outlet.woken()
        self._host.woken(call, self._socket.newcomer)

    def write(self, parts: Parts) -> None:
        """See `Link`."""
        self._budget.sent += len(parts[0]) if len(parts) == 1 else sum(map(len, parts))
        self._outlet.write(parts)

    def kept(self, size: int) -> None:
        """See `Link`."""
        self._inflow.received(size)

    def used(self, size: int) -> None:
        """See `Link`."""
        self._credit(self._inflow.used(size))

    def _credit(self, size: int) -> None:
        if size:
            self._outlet.add(window_update(0, size))

    def credit(self, call: Call, size: int) -> None:
        """See `Link`."""
        self._outlet.add(window_update(call.stream_id, size))

    def accept(self, call: Call) -> None:
        """See `Link`. h2 is not told: to it the trailers are all of the answer's header fields."""
        self._outlet.add(_accepting(call.stream_id, call.gzip))

    def trail(self, call: Call, status: Status, reason: str) -> None:
        """See `Link`."""
        fields = trailers(status, reason) if call.served else [*_GRPC, *trailers(status, reason)]
        self.engine.h2.send_headers(call.stream_id, fields, end_stream=True)
        self._forget(call, End.ENDED, None if call.half_closed else ErrorCodes.NO_ERROR)

    def reset(self, call: Call) -> None:
        """See `Link`."""
        self._forget(call, End.STALLED, ErrorCodes.CANCEL)

    def abandon(self) -> None:
        """See `Link`."""
        self._socket.abort(End.GONE)

    def ping(self) -> None:
        """Have the peer say something."""
        self.engine.h2.ping(b"isthmus?")
        self._outlet.flush()

    def leave(self) -> None:
        """Take no more calls (GOAWAY)."""
        if not self._leaving and not self._failed:
            self._leaving = True
            self._outlet.add(goaway(self._highest, ErrorCodes.NO_ERROR))
            self._unused()

    def close(self, end: End) -> None:
        """The connection is over, and so are its calls."""
        self._failed = True
        while self.calls:
            _, call = self.calls.popitem()
            call.close(end)

    # Frames.

    def _handle(self, kind: int, flags: int, stream_id: int, payload: memoryview) -> None:
        if kind == WINDOW_UPDATE and len(payload) == 4:
            self._widen(flags, stream_id, payload)
        elif kind == GOAWAY and stream_id == 0 and len(payload) >= 8:
            self._leaving = True
            self._unused()
        elif kind == OTHER:
            self._judge(bytes(payload))
        elif self.engine.made or not self._plain(kind, flags, stream_id, bytes(payload)):
            self._judge(frame(kind, flags, stream_id, payload))

    def _plain(self, kind: int, flags: int, stream_id: int, payload: bytes) -> bool:
        """Whether the frame is of an opening that h2 need not read; then it is done with."""
        if kind == SETTINGS and stream_id == 0:
            if flags == ACK and not payload and not self._acknowledged:
                self._acknowledged = True
                self.engine.skip(SETTINGS, ACK, 0, b"")
                return True
            settings = None if flags or self._settled else read_settings(payload)
            if settings is not None:
                self._settled = True
                self._stream_window, self.frame_size = settings[0], min(settings[1], _LARGEST_FRAME)
                self.engine.skip(kind, flags, stream_id, payload)
                self._outlet.add(_SETTINGS_ACK)
                return True
        elif kind == HEADERS and flags == END_HEADERS and stream_id & 1 and not self._highest:
            most = self._host.limits.metadata_bytes
            head = _usual_head(payload, most) if len(payload) <= _MOST_USUAL else None
            if head is not None:
                self.engine.skip(kind, flags, stream_id, payload)
                self._call(stream_id, head, ended=False)
                return True
            fields = read_first_fields(payload, most)
            if fields is not None:
                self.engine.skip(kind, flags, stream_id, payload)
                self._request(stream_id, fields, ended=False)
                return True
        return False

    def _data(self, flags: int, stream_id: int, payload: memoryview) -> None:
        call = self.calls.get(stream_id)
        if call is None or call.half_closed or flags & ~END_STREAM or not call.plain:
            several = len(payload) > MOST_FRAME
            whole = data_frames(payload, stream_id, MOST_FRAME) if several else None
            self._judge(b"".join(whole) if whole else frame(DATA, flags, stream_id, payload))
            return
        if payload:
            credit = self._inflow.passed(len(payload)) if call.served else 0
            if credit:
                self._credit(credit)
            call.receive(payload)
        if flags:
            self._judge(frame(DATA, END_STREAM, stream_id, b""))

    def _widen(self, flags: int, stream_id: int, payload: memoryview) -> None:
        step = int.from_bytes(payload, "big") & WIDEST
        call = self.calls.get(stream_id)
        if not step or (stream_id and call is None):
            self._judge(frame(WINDOW_UPDATE, flags, stream_id, payload))
        elif call is not None:
            if call.widen(step) > WIDEST:
                self._forget(call, End.GONE, ErrorCodes.FLOW_CONTROL_ERROR)
        else:
            self.window += step
            if self.window > WIDEST:
                raise ConnectionFailed(ErrorCodes.FLOW_CONTROL_ERROR, "too wide a window")
            for call in self.calls.values():
                call.widen(0)

    def _judge(self, data: bytes) -> None:
        """Have h2 say what a frame means."""
        for event in self.engine.h2.receive_data(data):
            match event:
                case RequestReceived():
                    headers = cast("Fields", event.headers)
                    self._request(event.stream_id or 0, headers, ended=event.stream_ended is not None)
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
            self.engine.h2.acknowledge_received_data(size, stream_id)
        if call is not None and event.data:
            call.receive(event.data)

    def _settings(self, event: RemoteSettingsChanged) -> None:
        settings = self.engine.h2.remote_settings
        self.frame_size = min(settings.max_frame_size, _LARGEST_FRAME)
        self._stream_window = settings.initial_window_size
        changed = event.changed_settings.get(SettingCodes.INITIAL_WINDOW_SIZE)
        if changed is not None:
            step = changed.new_value - (changed.original_value or 0)
            for call in self.calls.values():
                if call.widen(step) > WIDEST:
                    raise ConnectionFailed(ErrorCodes.FLOW_CONTROL_ERROR, "too wide a window")

    # Calls.

    def _request(self, stream_id: int, fields: Fields, *, ended: bool) -> None:
        self._highest = max(self._highest, stream_id)
        try:
            self._call(stream_id, read_head(fields), ended=ended)
        except NotGrpc as refusal:
            self._refuse(stream_id, [(":status", str(refusal.http_status))], ended=ended)

    def _call(self, stream_id: int, head: Head, *, ended: bool) -> None:
        self._highest = max(self._highest, stream_id)
        if self._leaving:
            self.engine.h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        limits, socket = self._host.limits, self._socket
        try:
            request = Request(*head, socket.peer, socket.certificate)
            gzip = limits.gzip and request.accepts_gzip
            inflow = Inflow(INFLOW)
            call = Call(
                self, stream_id, request, self._stream_window, inflow, limits.message_bytes, gzip=gzip
            )
            self._host.called(call)
        except CallFailed as failure:
            answer = [*_GRPC, *trailers(failure.status, failure.reason)]
            self._refuse(stream_id, answer, ended=ended)
        else:
            if not call.over:
                self.calls[stream_id] = call

    def _refuse(self, stream_id: int, answer: list[tuple[str, str]], *, ended: bool) -> None:
        self.engine.h2.send_headers(stream_id, answer, end_stream=True)
        if not ended:
            self.engine.h2.reset_stream(stream_id, ErrorCodes.NO_ERROR)

    def _forget(self, call: Call, end: End, code: ErrorCodes | None = None) -> None:
        self.calls.pop(call.stream_id, None)
        if code is not None:
            self.engine.h2.reset_stream(call.stream_id, code)
        self._outlet.settle()
        call.close(end)
        self._unused()

    def _unused(self) -> None:
        if self._leaving and not self.calls:
            self._outlet.flush()
            self._socket.unused()
