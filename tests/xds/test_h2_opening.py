"""What is read of an opening without h2 is what h2 makes of it; what h2 refuses is never accepted."""

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from h2.exceptions import ProtocolError
from hpack import Encoder
from hyperframe.frame import HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.xds.h2_engine import Engine
from isthmus.xds.h2_frames import END_HEADERS, HEADERS, SETTINGS, frame
from isthmus.xds.h2_opening import Fields, read_first_fields, read_settings
from isthmus.xds.limits import DEFAULT
from tests.support.thorough import examples
from tests.xds.h2_rig import PREFACE, REQUEST, Rig

_PLAIN = [(name.encode(), value.encode()) for name, value in REQUEST]
_NAMES = (
    *(
        b":method",
        b":scheme",
        b":path",
        b":authority",
        b":status",
        b"te",
        b"content-type",
        b"host",
        b"cookie",
    ),
    *(b"x-forwarded-for", b"Upper", b"connection", b"content-length", b"", b"a:b", b"a b", b"grpc-timeout"),
)
_VALUES = (
    b"POST",
    b"CONNECT",
    b"/a/b",
    b"",
    b"trailers",
    b"x",
    b" x",
    b"x ",
    b"a\nb",
    b"a\tb",
    b"\xc3\xa4",
    b"7",
)
_FIELD = st.tuples(st.sampled_from(_NAMES), st.sampled_from(_VALUES))
_SETTING = st.tuples(
    st.integers(0, 9), st.sampled_from((0, 1, 2, 16384, 65535, 2**24 - 1, 2**31 - 1, 2**32 - 1))
)


@st.composite
def openings(draw: st.DrawFn) -> Fields:
    """A plain request with a few fields altered, dropped, moved or added."""
    fields = list(_PLAIN)
    for _ in range(draw(st.integers(0, 3))):
        match draw(st.sampled_from(("drop", "alter", "add", "swap"))):
            case "drop" if fields:
                fields.pop(draw(st.integers(0, len(fields) - 1)))
            case "alter" if fields:
                at = draw(st.integers(0, len(fields) - 1))
                fields[at] = (fields[at][0], draw(st.sampled_from(_VALUES)))
            case "add":
                fields.insert(draw(st.integers(0, len(fields))), draw(_FIELD))
            case _ if fields:
                at, other = (draw(st.integers(0, len(fields) - 1)) for _ in range(2))
                fields[at], fields[other] = fields[other], fields[at]
            case _:
                pass
    return fields


def as_h2_reads(block: bytes) -> Fields | None:
    h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
    h2.initiate_connection()
    opening = PREFACE + SettingsFrame(0).serialize() + frame(1, 4, 1, block)
    try:
        events = h2.receive_data(opening)
    except ProtocolError:
        return None
    [request] = [one for one in events if isinstance(one, RequestReceived)]
    return [(bytes(name), bytes(value)) for name, value in request.headers or ()]


@given(openings(), st.booleans())
@settings(max_examples=examples(200), deadline=None)
def test_header_fields_are_those_that_h2_reads(fields: Fields, huffman: bool) -> None:
    block = Encoder().encode(fields, huffman=huffman)
    found = read_first_fields(block, 16_384)
    if found is not None:
        assert found == as_h2_reads(block)


def test_what_a_grpc_client_sends_is_plain() -> None:
    assert read_first_fields(Encoder().encode(_PLAIN), 16_384) == _PLAIN


@pytest.mark.parametrize("block", [b"\xff", b"\x80", b"\x3f\xff\xff\xff\x7f", b"\x00\x7f\xff"])
def test_a_broken_block_is_left_to_h2(block: bytes) -> None:
    assert read_first_fields(block, 16_384) is None


def test_fields_beyond_the_limit_are_left_to_h2() -> None:
    assert read_first_fields(Encoder().encode([*_PLAIN, (b"x", b"y" * 20_000)]), 16_384) is None


@given(st.lists(_SETTING, max_size=4), st.binary(max_size=3))
@settings(max_examples=examples(200), deadline=None)
def test_settings_are_those_that_h2_takes(entries: list[tuple[int, int]], rest: bytes) -> None:
    payload = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in entries) + rest
    found = read_settings(payload)
    h2 = H2Connection(H2Configuration(client_side=False))
    h2.initiate_connection()
    try:
        h2.receive_data(PREFACE + frame(4, 0, 0, payload))
    except ProtocolError:
        assert found is None
    else:
        if found is not None:
            assert found == (h2.remote_settings.initial_window_size, h2.remote_settings.max_frame_size)


def test_h2_is_made_only_when_something_comes_that_it_must_judge() -> None:
    rig = Rig().hello()
    rig.frames_of(SettingsFrame(0, flags=["ACK"]))
    rig.request()
    rig.data(b"\0\0\0\0\2hi")
    assert rig.read().kinds() == ["HeadersFrame", "DataFrame"]
    assert not rig.session.engine.made
    rig.frames_of(PingFrame(0, b"12345678"))
    assert rig.read().kinds() == ["PingFrame"]
    assert rig.session.engine.made
    rig.data(b"\0\0\0\0\2ho")
    assert rig.read().data() == b"\0\0\0\0\2ho"
    rig.request(3)
    rig.frames_of(RstStreamFrame(1))
    assert [call.stream_id for call in rig.calls] == [3]


def test_h2_made_late_remembers_the_compression_of_the_first_call() -> None:
    """The second call's block refers to what the first one put into the table."""
    encoder, engine = Encoder(), Engine(DEFAULT)
    named = [*_PLAIN, (b"x-forwarded-for", b"10.42.0.7")]
    engine.skip(SETTINGS, 0, 0, b"")
    engine.skip(HEADERS, END_HEADERS, 1, encoder.encode(named))
    second = HeadersFrame(3, encoder.encode(named), flags=["END_HEADERS"])
    assert len(second.data) < 15
    [request] = engine.h2.receive_data(second.serialize())
    assert isinstance(request, RequestReceived)
    assert request.headers == named
    assert engine.output() == b""


@pytest.mark.parametrize("again", [SettingsFrame(0, {4: 7}), SettingsFrame(0, flags=["ACK"])])
def test_settings_that_come_again_are_h2s(again: SettingsFrame) -> None:
    rig = Rig().hello()
    rig.frames_of(SettingsFrame(0, flags=["ACK"]))
    rig.request()
    rig.read()
    rig.frames_of(again)
    assert rig.session.engine.made
    if not again.flags:
        assert rig.calls[0].window == 7
        assert rig.read().kinds() == ["SettingsFrame"]
