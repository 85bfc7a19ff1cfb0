"""Bytes that many sockets are sent, in pages that the kernel lends to each of them.

A write copies what it is given, once a socket: a thousand proxies that are sent 500 KB each fill 500 MB of
the kernel's memory. sendfile(2) out of a file in memory (memfd_create(2)) lets all of them refer to the same
pages. It is no use over TLS, whose bytes differ from socket to socket.
"""

import fcntl
import os
import socket
import weakref

_LEAST = 64 * 1024
"""Bytes for which it is worth while."""
_FIXED = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Shared(bytes):
    """Bytes that several sockets may be sent."""

    _pages: "Pages | None" = None
    _asked = False

    def pages(self) -> "Pages | None":
        """To send them by, from the second time on: most bytes are sent once. None where the system has no
        such files, and for what is not worth while.
        """
        if self._pages is None and self._asked and len(self) >= _LEAST:
            try:
                self._pages = Pages(self)
            except OSError:
                self._asked = False
        else:
            self._asked = True
        return self._pages


class Pages:
    """A copy of `data` that can be lent for as long as this object lives; what is on its way by then arrives.

    Raises OSError where the system has no such files.
    """

    __slots__ = ("__weakref__", "_file", "_size")

    def __init__(self, data: bytes) -> None:
        self._size = len(data)
        self._file = os.memfd_create("isthmus-push", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        weakref.finalize(self, os.close, self._file)
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        fcntl.fcntl(self._file, fcntl.F_ADD_SEALS, _FIXED)

    def send(self, before: bytes, to: int) -> int:
        """Send `before` and then these bytes to a socket, by its descriptor. How many of all of them it took:
        fewer when it is full or broken, which the next write will tell.
        """
        sent = 0
        try:
            if before:
                sent = _send_more(before, to)
            if sent == len(before):
                sent += os.sendfile(to, self._file, 0, self._size)
        except OSError:
            pass
        return sent


def _send_more(data: bytes, to: int) -> int:
    """Send what should share a packet with what follows."""
    borrowed = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=to)
    try:
        return borrowed.send(data, socket.MSG_MORE | socket.MSG_DONTWAIT)
    finally:
        borrowed.detach()
