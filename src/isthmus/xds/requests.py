"""Requests, read once where many proxies say the same: a thousand that accept a push send one message a
thousand times.
"""

from collections import deque
from collections.abc import Iterable
from itertools import chain

from isthmus.xds.wire import DeltaRequest, Request, read_delta_request, read_request

_MOST_REMEMBERED = 8
_MOST_BYTES = 512 * 1024
"""Of a message that is remembered."""


class Requests:
    """The latest of one hub. What names a node is of one proxy alone, and not remembered."""

    def __init__(self) -> None:
        self._whole: deque[tuple[bytes, Request]] = deque(maxlen=_MOST_REMEMBERED)
        self._delta: deque[tuple[bytes, DeltaRequest]] = deque(maxlen=_MOST_REMEMBERED)

    def whole(self, data: bytes, blocks: Iterable[bytes], recent: Iterable[bytes]) -> Request:
        """A DiscoveryRequest; blocks of names seen before are found again as the same object. Raises
        ProtocolError.
        """
        for said, request in self._whole:
            if said == data:
                return request
        request = read_request(data, chain(blocks, recent))
        if not request.node and len(data) <= _MOST_BYTES:
            self._whole.appendleft((data, request))
        return request

    def delta(self, data: bytes) -> DeltaRequest:
        """A DeltaDiscoveryRequest. Raises ProtocolError."""
        for said, request in self._delta:
            if said == data:
                return request
        request = read_delta_request(data)
        if not request.node and len(data) <= _MOST_BYTES:
            self._delta.appendleft((data, request))
        return request
