"""gRPC's messages out of a call's bytes: put together, bounded, unpacked (gRPC over HTTP2,
"Length-Prefixed-Message").
"""

import zlib

from isthmus.xds.grpc_status import CallFailed, Status

_PREFIX = 5
_GZIP = 16 + zlib.MAX_WBITS


class MessageReader:
    """The messages of one call. `most` bounds a message, packed and unpacked; `encoding` is the call's."""

    __slots__ = ("_buffer", "_encoding", "_most")

    def __init__(self, most: int, encoding: str = "identity") -> None:
        self._most = most
        self._encoding = encoding
        self._buffer = bytearray()

    @property
    def incomplete(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that these bytes complete. Raises CallFailed."""
        if self._buffer:
            self._buffer += data
            messages, at = self._cut(self._buffer)
            del self._buffer[:at]
        else:
            messages, at = self._cut(data)
            if at < len(data):
                self._buffer += data[at:]
        return messages

    def _cut(self, data: bytes | bytearray) -> tuple[list[bytes], int]:
        messages: list[bytes] = []
        at, end = 0, len(data)
        while end - at >= _PREFIX:
            size = int.from_bytes(data[at + 1 : at + _PREFIX], "big")
            if size > self._most:
                raise CallFailed(
                    Status.RESOURCE_EXHAUSTED, f"a message has {size} bytes, most is {self._most}"
                )
            start = at + _PREFIX
            if start + size > end:
                break
            packed, at = data[at], start + size
            message = bytes(data[start:at])
            messages.append(self._unpacked(message) if packed else message)
        return messages, at

    def _unpacked(self, message: bytes) -> bytes:
        if self._encoding != "gzip":
            raise CallFailed(Status.INTERNAL, "a message is compressed, but the call is not")
        unpacking = zlib.decompressobj(_GZIP)
        try:
            unpacked = unpacking.decompress(message, self._most + 1)
        except zlib.error as error:
            raise CallFailed(Status.INTERNAL, f"a message is no gzip: {error}") from None
        if len(unpacked) > self._most:
            raise CallFailed(Status.RESOURCE_EXHAUSTED, f"a message unpacks to more than {self._most} bytes")
        if not unpacking.eof:
            raise CallFailed(Status.INTERNAL, "a message is an incomplete gzip")
        return unpacked
