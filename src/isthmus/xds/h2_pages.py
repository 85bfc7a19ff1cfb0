"""Bytes that many sockets are sent, in pages that the kernel lends to each of them.

A write copies what it is given, once a socket: a thousand proxies that are sent 500 KB each fill 500 MB of
the kernel's memory. sendfile(2) out of a file in memory (memfd_create(2)) lets all of them refer to the same
pages. It is no use over TLS, whose bytes differ from socket to socket.
"""

import fcntl
import os
import weakref

_LEAST = 64 * 1024
"""Bytes for which it is worth while."""
_FIXED = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Shared(bytes):
    """Bytes that several sockets may be sent."""

    _pages: "Pages | None" = None
    _asked = False

    def pages(self, before: bytes) -> "Pages | None":
        """To send `before` and then these bytes by, from the second time on: most are sent once. None where
        the system has no such files, for what is not worth while, and where something else comes before them
        mostly.
        """
        if not self._asked or len(self) < _LEAST:
            self._asked = True
            return None
        if self._pages is None or (before and not self._pages.before):
            try:
                self._pages = Pages(before, self)
            except OSError:
                self._asked = False
                return None
        return self._pages if before in (b"", self._pages.before) else None


class Pages:
    """A copy of `before` and of `data` behind it that can be lent for as long as this object lives; what is
    on its way by then arrives.

    Those who connect are sent the same few frames before their first message, and what is sent in one piece
    costs one system call and shares a packet. Raises OSError where the system has no such files.
    """

    __slots__ = ("__weakref__", "_file", "_size", "before")

    def __init__(self, before: bytes, data: bytes) -> None:
        self.before = before
        self._size = len(before) + len(data)
        self._file = os.memfd_create("isthmus-push", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        weakref.finalize(self, os.close, self._file)
        for part in (before, data):
            view = memoryview(part)
            while view:
                view = view[os.write(self._file, view) :]
        fcntl.fcntl(self._file, fcntl.F_ADD_SEALS, _FIXED)

    def send(self, to: int, *, alone: bool) -> int:
        """Send `before` and `data`, or `data` alone, to a socket, by its descriptor. How many bytes it took:
        fewer when it is full or broken, which the next write will tell.
        """
        start = len(self.before) if alone else 0
        try:
            return os.sendfile(to, self._file, start, self._size - start)
        except OSError:
            return 0
