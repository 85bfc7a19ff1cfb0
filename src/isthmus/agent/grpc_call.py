"""One unary gRPC call over a connection that it has to itself (gRPC over HTTP2).

A gRPC library would cost every pod of the mesh more memory than all of the agent. What is sent fits into one
frame, what comes back is bounded; neither is compressed.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from isthmus.agent.errors import CallRefusedError

_MOST_REQUEST = 1 << 14
_MOST_RESPONSE = 1 << 20
_READ = 1 << 16
_STREAM = 1
_CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
    "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked: `path` is `/SERVICE/METHOD`, `message` the request encoded; `metadata` may be secret."""

    path: str
    authority: str
    message: bytes = field(repr=False)
    metadata: Iterable[tuple[str, str]] = field(default=(), repr=False)
    scheme: str = "http"
    user_agent: str = "isthmus"


async def make_call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, call: Call) -> bytes:
    """The answer's message, encoded. The caller sets the deadline and closes the connection.

    Raises CallRefusedError for a status other than OK, OSError or EOFError where no HTTP/2 was spoken.
    """
    http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    _ask(http, call)
    answer = _Answer()
    try:
        while not answer.ended:
            writer.write(http.data_to_send())
            await writer.drain()
            data = await reader.read(_READ)
            if not data:
                raise EOFError("the connection was closed before an answer")
            for event in http.receive_data(data):
                answer.take(event, http)
        return answer.message()
    except (ProtocolError, UnicodeDecodeError) as error:
        raise ConnectionError("what answered is no HTTP/2 server") from error


def _ask(http: H2Connection, call: Call) -> None:
    if len(call.message) > _MOST_REQUEST - 5:
        raise ValueError(f"the request has {len(call.message)} bytes, more than fit into one frame")
    http.initiate_connection()
    headers = [
        (":method", "POST"),
        (":scheme", call.scheme),
        (":path", call.path),
        (":authority", call.authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", call.user_agent),
        *call.metadata,
    ]
    http.send_headers(_STREAM, headers)
    framed = b"\x00" + len(call.message).to_bytes(4, "big") + call.message
    http.send_data(_STREAM, framed, end_stream=True)


class _Answer:
    """What came back so far."""

    def __init__(self) -> None:
        self.ended = False
        self._fields: dict[str, str] = {}
        self._body = bytearray()

    def take(self, event: Event, http: H2Connection) -> None:
        """Raises CallRefusedError where the server gives the call up."""
        match event:
            case ResponseReceived(headers=headers) | TrailersReceived(headers=headers):
                self._fields.update(_texts(headers or ()))
            case DataReceived(data=data, flow_controlled_length=size):
                self._body += data or b""
                if len(self._body) > _MOST_RESPONSE:
                    raise CallRefusedError("", f"the answer has more than {_MOST_RESPONSE} bytes")
                http.acknowledge_received_data(size or 0, _STREAM)
            case StreamEnded():
                self.ended = True
            case StreamReset(error_code=code) | ConnectionTerminated(error_code=code):
                if not self.ended:
                    raise CallRefusedError("", f"the server gave the call up ({_error_name(code)})")
            case _:
                pass

    def message(self) -> bytes:
        """Raises CallRefusedError for another status than OK, and where there is not one message."""
        status, found = self._fields.get(":status", ""), self._fields.get("grpc-status", "")
        if not found:
            raise CallRefusedError("", f"what answered is no gRPC server (HTTP status {status})")
        if found != "0":
            name = _CODES[int(found)] if found.isdecimal() and int(found) < len(_CODES) else found
            raise CallRefusedError(name, unquote(self._fields.get("grpc-message", "")))
        if (
            len(self._body) < 5
            or self._body[0]
            or int.from_bytes(self._body[1:5], "big") != len(self._body) - 5
        ):
            raise CallRefusedError("", "the answer is not one message")
        return bytes(self._body[5:])


def _texts(headers: Iterable[tuple[bytes | str, bytes | str]]) -> Iterator[tuple[str, str]]:
    for pair in headers:
        name, value = (part.decode() if isinstance(part, bytes) else part for part in pair)
        yield name, value


def _error_name(code: ErrorCodes | int | None) -> str:
    return code.name if isinstance(code, ErrorCodes) else str(code)
