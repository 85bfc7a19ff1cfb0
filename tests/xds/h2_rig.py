"""An HTTP/2 session without sockets, a service that echoes, and the peer's side of it frame by frame."""

from collections import deque
from collections.abc import Iterable
from typing import Any

from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from isthmus.xds.grpc_status import CallFailed, Status
from isthmus.xds.h2_call import Call, End
from isthmus.xds.h2_flow import ConnectionFailed
from isthmus.xds.h2_frames import Frames, Parts
from isthmus.xds.h2_session import HttpSession
from isthmus.xds.limits import DEFAULT, Limits

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ECHO = "/test.Test/Echo"
REQUEST = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", ECHO),
    (":authority", "test"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)


def framed(message: bytes) -> bytes:
    """A gRPC message with its prefix."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class Echo:
    """Says everything again; ends when the caller has."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.heard: list[bytes] = []
        self.say: deque[bytes] = deque()
        self.ends: list[End] = []

    def receive(self, message: bytes) -> None:
        if message == b"refuse me":
            raise CallFailed(Status.INVALID_ARGUMENT, "refused: 100 %")
        if message == b"break":
            raise RuntimeError("a fault of the service")
        self.heard.append(message)
        self.tell(message)

    def tell(self, message: bytes) -> None:
        self.say.append(message)
        self.call.wake()

    def half_closed(self) -> None:
        self.call.finish(Status.OK)

    def take(self) -> bytes | None:
        return self.say.popleft() if self.say else None

    def closed(self, end: End) -> None:
        self.ends.append(end)


class Rig:
    """A session, its host and its socket."""

    def __init__(self, limits: Limits = DEFAULT, *, windows: int | None = None) -> None:
        self.limits = limits
        self.frames = Frames()
        self.time = 1.0
        self.peer = "peer"
        self.certificate: bytes | None = None
        self.paused = self.newcomer = False
        self.sent = bytearray()
        self.echoes: list[Echo] = []
        self.calls: list[Call] = []
        self.closed: list[str] = []
        self.failure: ConnectionFailed | None = None
        self._woken: list[Call] = []
        self._encoder, self._decoder = Encoder(), Decoder()
        self.session = HttpSession(self, self)
        self.answered()
        settings = {} if windows is None else {SettingsFrame.INITIAL_WINDOW_SIZE: windows}
        self._hello = PREFACE + SettingsFrame(0, settings).serialize()

    # Host and Socket.

    def now(self) -> float:
        return self.time

    def called(self, call: Call) -> None:
        if call.request.path != ECHO:
            raise CallFailed(Status.UNIMPLEMENTED, "there is no such method")
        self.calls.append(call)
        call.serve(self._echo)

    def _echo(self, call: Call) -> Echo:
        self.echoes.append(Echo(call))
        return self.echoes[-1]

    def woken(self, call: Call, newcomer: bool) -> None:
        self._woken.append(call)

    def ended(self, call: Call) -> None:
        self.calls.remove(call)

    def send(self, parts: Parts) -> None:
        self.sent += b"".join(parts)

    def unused(self) -> None:
        self.closed.append("unused")

    def abort(self, end: End) -> None:
        self.closed.append(end.value)

    # The peer.

    def hello(self) -> "Rig":
        """Begin as a peer must."""
        self.give(self._hello)
        assert [one for one in self.answered() if isinstance(one, SettingsFrame) and "ACK" in one.flags]
        return self

    def give(self, data: bytes) -> None:
        """Bytes arrive, and what they woke writes."""
        if self.failure is None:
            try:
                self.session.receive(data)
            except ConnectionFailed as failure:
                self.failure = failure
                self.session.close(End.GONE)
        self.pump()

    def pump(self) -> None:
        woken, self._woken = self._woken, []
        for call in woken:
            call.pump()

    def frames_of(self, *frames: Frame) -> None:
        """Frames arrive."""
        self.give(b"".join(one.serialize() for one in frames))

    def request(
        self, stream_id: int = 1, fields: Iterable[tuple[str, str]] = REQUEST, *, end: bool = False
    ) -> None:
        """A request's HEADERS arrive."""
        flags = ["END_HEADERS", *(["END_STREAM"] if end else [])]
        self.frames_of(HeadersFrame(stream_id, self._encoder.encode(list(fields)), flags=flags))

    def header_block(self, fields: Iterable[tuple[str, str]] = REQUEST) -> bytes:
        return self._encoder.encode(list(fields))

    def data(self, data: bytes, stream_id: int = 1, *flags: str, **more: Any) -> None:
        """A DATA frame arrives."""
        self.frames_of(DataFrame(stream_id, data, flags=list(flags), **more))

    def answered(self) -> list[Frame]:
        """The frames that were sent since it was asked last."""
        frames: list[Frame] = []
        while self.sent:
            found, size = Frame.parse_frame_header(memoryview(bytes(self.sent[:9])))
            found.parse_body(memoryview(bytes(self.sent[9 : 9 + size])))
            del self.sent[: 9 + size]
            frames.append(found)
        return frames

    def read(self) -> "Answer":
        """What was sent since it was asked last, by meaning."""
        return Answer(self.answered(), self._decoder)


class Answer:
    """Frames, read."""

    def __init__(self, frames: list[Frame], decoder: Decoder) -> None:
        self.frames = frames
        self.headers: list[dict[str, str]] = []
        for one in frames:
            if isinstance(one, HeadersFrame):
                pairs = decoder.decode(one.data)
                self.headers.append({str(name): str(value) for name, value in pairs})
        self.resets = {one.stream_id: one.error_code for one in frames if isinstance(one, RstStreamFrame)}
        self.goaways = [one.error_code for one in frames if isinstance(one, GoAwayFrame)]
        self.credit = {
            one.stream_id: one.window_increment for one in frames if isinstance(one, WindowUpdateFrame)
        }

    def data(self, stream_id: int = 1) -> bytes:
        return b"".join(
            one.data for one in self.frames if isinstance(one, DataFrame) and one.stream_id == stream_id
        )

    def kinds(self) -> list[str]:
        return [type(one).__name__ for one in self.frames]
