"""gRPC's messages out of a call's bytes: put together, bounded, unpacked (gRPC over HTTP2,
"Length-Prefixed-Message").
"""

import zlib
from collections.abc import Sequence

from isthmus.xds.grpc_status import CallFailed, Status
from isthmus.xds.h2_frames import Buffer

_PREFIX = 5
_GZIP = 16 + zlib.MAX_WBITS


class MessageReader:
    """The messages of one call. `most` bounds a message, packed and unpacked; `encoding` is the call's."""

    __slots__ = ("_begun", "_encoding", "_most", "_need")

    def __init__(self, most: int, encoding: str = "identity") -> None:
        self._most = most
        self._encoding = encoding
        self._begun = bytearray()
        """What there is of a message, prefix included, until it has `_need` bytes."""
        self._need = _PREFIX

    @property
    def incomplete(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._begun)

    def feed(self, data: Buffer) -> Sequence[bytes]:
        """The messages that these bytes complete. Raises CallFailed."""
        if self._begun:
            self._begun += data
            if len(self._begun) < self._need:
                return ()
            data, self._begun = self._begun, bytearray()
        view = memoryview(data)
        if len(view) - _PREFIX == int.from_bytes(view[1:_PREFIX], "big") <= self._most:
            message = bytes(view[_PREFIX:])
            return (self._unpacked(message) if view[0] else message,)
        messages: list[bytes] = []
        at, end = 0, len(view)
        while at < end:
            start = stop = at + _PREFIX
            if start <= end:
                size = int.from_bytes(view[at + 1 : start], "big")
                if size > self._most:
                    raise CallFailed(
                        Status.RESOURCE_EXHAUSTED, f"a message has {size} bytes, most is {self._most}"
                    )
                stop += size
            if stop > end:
                self._begun += view[at:]
                self._need = stop - at
                break
            message = bytes(view[start:stop])
            messages.append(self._unpacked(message) if view[at] else message)
            at = stop
        return messages

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
