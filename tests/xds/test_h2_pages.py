"""Bytes that are lent to sockets: whole, in order, and no more of them than a socket takes."""

import socket
import threading

import pytest

from isthmus.xds.h2_pages import Pages, Shared

_DATA = bytes(range(256)) * 4096


def read(end: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (more := end.recv(1 << 20)):
        data += more
    return bytes(data)


@pytest.mark.parametrize("before", [b"", b"before", bytes(10_000)])
def test_a_socket_takes_what_it_can_and_the_rest_is_known(before: bytes) -> None:
    pages = Pages(_DATA)
    for _ in range(2):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            sent = pages.send(before, ours.fileno())
            assert len(before) < sent < len(before) + len(_DATA)
            assert pages.send(before, ours.fileno()) == 0
            assert read(theirs, sent) == (before + _DATA)[:sent]


def test_what_was_sent_arrives_after_the_pages_are_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        with ours, theirs:
            pages = Pages(_DATA)
            reading: list[bytes] = []
            reader = threading.Thread(target=lambda: reading.append(read(theirs, len(_DATA) + 5)))
            reader.start()
            assert pages.send(b"first", ours.fileno()) == len(_DATA) + 5
            del pages
            reader.join(10)
            assert reading == [b"first" + _DATA]


def test_a_broken_socket_takes_nothing() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        assert Pages(_DATA).send(b"before", ours.fileno()) == 0
    assert Pages(_DATA).send(b"", -1) == 0


def test_only_large_bytes_that_are_sent_again_have_pages() -> None:
    once, small = Shared(_DATA), Shared(b"small")
    assert once.pages() is None
    assert [small.pages(), small.pages()] == [None, None]
    again = once.pages()
    assert again is not None
    assert once.pages() is again
