"""Messages that differ in a few strings only: serialised once, and filled in ever after.

Most of a mesh's resources are alike but for a service's name. To build each as a message costs tens of
microseconds; here one specimen is built, with a mark in place of every string that differs, and its bytes are
taken apart there. What is filled in changes the lengths of all messages around it, so these are written anew.
For strings of one length even that is remembered. The bytes are those that protobuf would have written.
"""

import re
from collections.abc import Callable, Hashable, Sequence

from google.protobuf.message import Message

from isthmus.lib.protobuf import read_varint, varint

_MOST_TEMPLATES = 4096
_MOST_LAYOUTS = 1024
_MARK = re.compile(rb"\x07(\d+)\x07")
"""Its first byte begins no field (Protocol Buffers, "Encoding": there is no wire type 7), so a string that
begins with a mark is never taken for a message."""
_Tree = list["bytes | int | tuple[bytes, _Tree]"]
"""Bytes as they are, which of the strings to fill in, and messages or strings that have such inside."""


def mark(index: int) -> str:
    """What stands in a specimen for the string of that number."""
    return f"\x07{index}\x07"


class Template:
    """A serialised specimen."""

    def __init__(self, specimen: bytes) -> None:
        tree = _message(specimen)
        if tree is None:
            raise ValueError("the specimen is not a serialised message")
        self._tree = tree
        self._layouts: dict[tuple[int, ...], tuple[bytes | int, ...]] = {}

    def fill(self, strings: Sequence[str]) -> bytes:
        """The message with these strings in place of the marks."""
        raw = [one.encode() for one in strings]
        lengths = tuple(map(len, raw))
        layout = self._layouts.get(lengths)
        if layout is None:
            if len(self._layouts) >= _MOST_LAYOUTS:
                self._layouts.clear()
            layout = self._layouts[lengths] = tuple(_joined(_laid_out(self._tree, lengths)))
        return b"".join([one if isinstance(one, bytes) else raw[one] for one in layout])


class Templates:
    """Templates by whatever else their messages depend on."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Template] = {}

    def fill(
        self, kind: Hashable, strings: Sequence[str], specimen: Callable[[Sequence[str]], Message]
    ) -> bytes:
        """The message of these strings. `specimen` makes it of any others, alike for all of one `kind`: it
        may join them with text, but not look into them.
        """
        template = self._known.get(kind)
        if template is None:
            if len(self._known) >= _MOST_TEMPLATES:
                self._known.clear()
            marked = specimen([mark(index) for index in range(len(strings))])
            template = self._known[kind] = Template(marked.SerializeToString(deterministic=True))
        return template.fill(strings)


def _message(data: bytes) -> _Tree | None:
    """The fields of a message; None where it is none."""
    tree: _Tree = []
    at = 0
    while at < len(data):
        begin = at
        try:
            tag, at = read_varint(data, at)
            match tag & 7:
                case 0:
                    _, at = read_varint(data, at)
                case 1:
                    at += 8
                case 2:
                    ends = at
                    size, at = read_varint(data, at)
                    value = data[at : at + size]
                    at += size
                    if _MARK.search(value):
                        tree.append((data[begin:ends], _message(value) or _string(value)))
                        begin = at
                case 5:
                    at += 4
                case _:
                    return None
        except ValueError:
            return None
        tree.append(data[begin:at])
    return tree if at == len(data) else None


def _string(data: bytes) -> _Tree:
    return [int(part) if index % 2 else part for index, part in enumerate(_MARK.split(data))]


def _laid_out(tree: _Tree, lengths: tuple[int, ...]) -> list[bytes | int]:
    """The tree as one list, with the lengths of what is inside written out."""
    parts: list[bytes | int] = []
    for one in tree:
        if isinstance(one, tuple):
            tag, inside = one
            inner = _laid_out(inside, lengths)
            size = sum(lengths[part] if isinstance(part, int) else len(part) for part in inner)
            parts += [tag + varint(size), *inner]
        else:
            parts.append(one)
    return parts


def _joined(parts: Sequence[bytes | int]) -> list[bytes | int]:
    """The same with neighbouring bytes put together."""
    joined: list[bytes | int] = []
    for one in parts:
        last = joined[-1] if joined else None
        if isinstance(one, bytes) and isinstance(last, bytes):
            joined[-1] = last + one
        elif one != b"":
            joined.append(one)
    return joined
