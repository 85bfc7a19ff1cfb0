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
    pages = Pages(before, _DATA)
    for alone in (False, True):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            whole = _DATA if alone else before + _DATA
            sent = pages.send(ours.fileno(), alone=alone)
            assert len(before) < sent < len(whole)
            assert pages.send(ours.fileno(), alone=alone) == 0
            assert read(theirs, sent) == whole[:sent]


def test_what_was_sent_arrives_after_the_pages_are_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        with ours, theirs:
            pages = Pages(b"first", _DATA)
            reading: list[bytes] = []
            reader = threading.Thread(target=lambda: reading.append(read(theirs, len(_DATA) + 5)))
            reader.start()
            assert pages.send(ours.fileno(), alone=False) == len(_DATA) + 5
            del pages
            reader.join(10)
            assert reading == [b"first" + _DATA]


def test_a_broken_socket_takes_nothing() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        assert Pages(b"before", _DATA).send(ours.fileno(), alone=False) == 0
    assert Pages(b"", _DATA).send(-1, alone=True) == 0


def test_only_large_bytes_that_are_sent_again_have_pages() -> None:
    once, small = Shared(_DATA), Shared(b"small")
    assert once.pages(b"") is None
    assert [small.pages(b""), small.pages(b"")] == [None, None]
    again = once.pages(b"")
    assert again is not None
    assert once.pages(b"") is again


def test_pages_begin_with_what_comes_first_before_the_bytes_and_serve_without_it() -> None:
    shared = Shared(_DATA)
    shared.pages(b"")
    bare = shared.pages(b"")
    greeted = shared.pages(b"hello")
    assert greeted is not None
    assert greeted is not bare
    assert shared.pages(b"") is shared.pages(b"hello") is greeted
    assert shared.pages(b"something else") is None, "it is copied"
