"""One call of grpc.health.v1.Health/Check in the few frames of HTTP/2 that it takes.

A gRPC library would cost every pod of the mesh more memory than all of the agent. What is sent is fixed, and
of what comes back only one message counts, so nothing of HPACK needs decoding. It speaks plain text only, as
the kubelet does (Kubernetes: gRPC probes).
"""

import asyncio
from enum import IntEnum
from struct import pack

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_PADDED = 8
_STREAM = 1
_MOST_FRAME = 1 << 14
_MOST_FRAMES = 64
_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


class _Kind(IntEnum):
    """Types of frames; RFC 9113 section 6."""

    DATA = 0
    HEADERS = 1
    RESET = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7


async def check_health(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str, service: str
) -> str | None:
    """None where the service is SERVING, else what it answered. OSError, EOFError: no HTTP/2 was spoken."""
    writer.write(_PREFACE + _frame(_Kind.SETTINGS) + _request(authority, service))
    await writer.drain()
    message = b""
    for _ in range(_MOST_FRAMES):
        kind, flags, payload = await _read_frame(reader)
        match kind:
            case _Kind.DATA:
                message += _unpadded(payload, flags)
                if len(message) >= 5 and len(message) >= 5 + int.from_bytes(message[1:5], "big"):
                    return _verdict(message[5:])
            case _Kind.SETTINGS if not flags & _ACK:
                writer.write(_frame(_Kind.SETTINGS, _ACK))
            case _Kind.PING if not flags & _ACK:
                writer.write(_frame(_Kind.PING, _ACK, payload=payload))
            case _Kind.RESET | _Kind.GOAWAY:
                return "the gRPC server refused the call"
            case _:
                pass
        if kind in (_Kind.DATA, _Kind.HEADERS) and flags & _END_STREAM:
            return "the gRPC server answered without a health status; it may not implement grpc.health.v1"
    return "the gRPC server did not answer the call"


async def _read_frame(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    head = await reader.readexactly(9)
    length = int.from_bytes(head[:3], "big")
    if length > _MOST_FRAME:
        raise ConnectionError("what answered is no HTTP/2 server")
    return head[3], head[4], await reader.readexactly(length)


def _request(authority: str, service: str) -> bytes:
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": authority,
        "content-type": "application/grpc",
        "te": "trailers",
        "user-agent": "kube-probe/isthmus",
    }
    block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers.items())
    name = service.encode()
    body = b"\x0a" + _varint(len(name)) + name if name else b""
    data = b"\x00" + pack(">I", len(body)) + body
    return _frame(_Kind.HEADERS, _END_HEADERS, _STREAM, block) + _frame(
        _Kind.DATA, _END_STREAM, _STREAM, data
    )


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """RFC 9113 section 4.1."""
    return pack(">I", len(payload))[1:] + pack(">BBI", kind, flags, stream) + payload


def _text(value: str) -> bytes:
    """A string literal without Huffman coding; RFC 7541 section 5.2, length as in 5.1 with a 7-bit prefix."""
    raw = value.encode()
    length = bytes([len(raw)]) if len(raw) < 127 else b"\x7f" + _varint(len(raw) - 127)
    return length + raw


def _varint(number: int) -> bytes:
    """Groups of 7 bits, the lowest first: protobuf's, and what follows HPACK's prefix."""
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def _unpadded(payload: bytes, flags: int) -> bytes:
    return payload[1 : len(payload) - payload[0]] if flags & _PADDED and payload else payload


def _verdict(message: bytes) -> str | None:
    """HealthCheckResponse has one field: its status, left out where it is UNKNOWN."""
    status = message[1] if message[:1] == b"\x08" and len(message) > 1 else 0
    if status == 1:
        return None
    return f"the gRPC server says {_STATUSES[status] if status < len(_STATUSES) else status}"
