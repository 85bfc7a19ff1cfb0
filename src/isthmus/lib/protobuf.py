"""Protobuf's encoding by hand, for messages of a few fields in a process that cannot afford the library.

What is read is bounded by the bytes given; groups, which no message of ours has, are refused. Source:
Protocol Buffers, "Encoding".
"""

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10


def varint(number: int) -> bytes:
    """Groups of seven bits, the lowest first. `number` is not negative."""
    if number <= 0x7F:
        return bytes((number,))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def integer(number: int, value: int) -> bytes:
    """An integer field; nothing where it is 0, protobuf's default."""
    return varint(number << 3 | _VARINT) + varint(value) if value else b""


def text(number: int, value: str | bytes) -> bytes:
    """A field of text, bytes or a message that is encoded already."""
    raw = value.encode() if isinstance(value, str) else value
    if len(raw) <= 0x7F and number <= 0x0F:
        return bytes((number << 3 | _BYTES, len(raw))) + raw
    return varint(number << 3 | _BYTES) + varint(len(raw)) + raw


def read_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field in order, an int of a varint, else bytes. Raises ValueError."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = read_varint(data, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, at = read_varint(data, at)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise ValueError(f"wire type {kind} is not known")
        if at + size > len(data):
            raise ValueError("a field ends after the message")
        yield tag >> 3, data[at : at + size]
        at += size


def texts_of(data: bytes, number: int) -> list[str]:
    """The values of one field of text. ValueError as `read_fields`, and where they are no UTF-8."""
    found = (value for field, value in read_fields(data) if field == number)
    return [value.decode() for value in found if isinstance(value, bytes)]


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at that place, and the place after it. Raises ValueError."""
    value = 0
    for index, byte in enumerate(data[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("a number does not end")
