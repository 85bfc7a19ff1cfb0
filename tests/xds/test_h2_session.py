"""Cases in the manner of h2spec: what HTTP/2 and gRPC demand of a server, frame by frame."""

import gzip

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from isthmus.xds.h2_call import End
from isthmus.xds.h2_frames import frame
from isthmus.xds.limits import Limits
from tests.xds.h2_rig import PREFACE, REQUEST, Rig, framed


def code(rig: Rig) -> ErrorCodes | None:
    """What the connection was ended with; the peer must have been told."""
    if rig.failure is None:
        return None
    assert rig.read().goaways == [rig.failure.code]
    return rig.failure.code


def changed(**fields: str) -> list[tuple[str, str]]:
    """The request with other fields; `_` stands for `-`, an empty value leaves one out."""
    new = {name.replace("_", "-"): value for name, value in fields.items()}
    kept = [(name, new.pop(name.lstrip(":"), value)) for name, value in REQUEST]
    return [(name, value) for name, value in [*kept, *new.items()] if value]


# Beginnings.


def test_another_protocol_ends_at_its_first_wrong_byte() -> None:
    rig = Rig()
    rig.give(b"GET / HTTP/1.1\r\n")
    assert code(rig) is ErrorCodes.PROTOCOL_ERROR


def test_the_preface_may_come_byte_by_byte() -> None:
    rig = Rig()
    for byte in PREFACE + SettingsFrame(0).serialize():
        assert not rig.session.spoken
        rig.give(bytes((byte,)))
    assert rig.session.spoken
    assert rig.failure is None


def test_settings_come_first() -> None:
    rig = Rig()
    rig.give(PREFACE + PingFrame(0, b"12345678").serialize())
    assert code(rig) is ErrorCodes.PROTOCOL_ERROR


def test_settings_and_pings_are_acknowledged() -> None:
    rig = Rig().hello()
    rig.frames_of(SettingsFrame(0, {SettingsFrame.MAX_FRAME_SIZE: 32768}), PingFrame(0, b"abcdefgh"))
    settings, ping = rig.answered()
    assert isinstance(settings, SettingsFrame)
    assert "ACK" in settings.flags
    assert isinstance(ping, PingFrame)
    assert ping.opaque_data == b"abcdefgh"


# Calls.


def test_messages_go_both_ways_and_the_end_has_a_status() -> None:
    rig = Rig().hello()
    rig.request()
    rig.data(framed(b"one") + framed(b"two"))
    rig.data(b"", 1, "END_STREAM")
    answer = rig.read()
    assert answer.data() == framed(b"one") + framed(b"two")
    assert answer.headers[0][":status"] == "200"
    assert answer.headers[-1] == {"grpc-status": "0"}
    assert not answer.resets
    assert rig.echoes[0].ends == [End.ENDED]
    assert not rig.calls


def test_a_message_may_come_in_any_pieces() -> None:
    rig = Rig().hello()
    rig.request()
    for byte in framed(b"x" * 20) + framed(b"") + framed(b"y"):
        rig.data(bytes((byte,)))
    assert rig.echoes[0].heard == [b"x" * 20, b"", b"y"]


@pytest.mark.parametrize("cut", [1, 9, 16_390, 16_393, 16_402, 40_000, 100_000])
def test_a_message_of_many_frames_may_come_in_any_pieces(cut: int) -> None:
    rig = Rig().hello()
    rig.request(1)
    rig.request(3)
    body = framed(b"x" * 40_000)
    sent = [DataFrame(1, body[at : at + 16_384]) for at in range(0, len(body), 16_384)]
    sent += [DataFrame(1, framed(b"short")), DataFrame(3, framed(b"y"))]
    data = b"".join(one.serialize() for one in (*sent, DataFrame(1, flags=["END_STREAM"])))
    for piece in (data[:cut], data[cut:]):
        rig.give(piece)
    assert [echo.heard for echo in rig.echoes] == [[b"x" * 40_000, b"short"], [b"y"]]
    assert rig.failure is None


def test_a_message_of_many_frames_for_a_call_that_is_over_is_dropped() -> None:
    rig = Rig().hello()
    rig.request(1)
    rig.request(3)
    rig.frames_of(RstStreamFrame(1, ErrorCodes.CANCEL))
    rig.frames_of(*(DataFrame(1, bytes(16_384)) for _ in range(3)), DataFrame(3, framed(b"y")))
    assert rig.failure is None
    assert rig.echoes[1].heard == [b"y"]


def test_a_refused_message_ends_its_call_and_no_other() -> None:
    rig = Rig().hello()
    rig.request(1)
    rig.request(3)
    rig.data(framed(b"refuse me"), 1)
    rig.data(framed(b"hello"), 3)
    answer = rig.read()
    assert answer.headers[-1] == {"grpc-status": "3", "grpc-message": "refused: 100 %25"}
    assert answer.resets == {1: ErrorCodes.NO_ERROR}
    assert answer.data(3) == framed(b"hello")


def test_a_fault_of_a_service_ends_its_call_and_no_other() -> None:
    rig = Rig().hello()
    rig.request(1)
    rig.request(3)
    rig.data(framed(b"break"), 1)
    rig.data(framed(b"hello"), 3)
    answer = rig.read()
    assert answer.headers[-1]["grpc-status"] == "13"
    assert answer.data(3) == framed(b"hello")


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"method": "GET"}, "405"), ({"content_type": "text/html"}, "415"), ({"content_type": ""}, "415")],
)
def test_what_is_not_grpc_gets_an_http_status(fields: dict[str, str], status: str) -> None:
    rig = Rig().hello()
    rig.request(fields=changed(**fields), end=True)
    assert rig.read().headers == [{":status": status}]


@pytest.mark.parametrize("content_type", ["application/grpc+proto", "application/grpc;charset=utf-8"])
def test_a_content_type_may_say_more(content_type: str) -> None:
    rig = Rig().hello()
    rig.request(fields=changed(content_type=content_type, te=""))
    assert len(rig.calls) == 1


def test_an_unknown_method_or_encoding_is_not_implemented() -> None:
    rig = Rig().hello()
    rig.request(1, changed(path="/test.Test/Nonsense"))
    rig.request(3, changed(grpc_encoding="snappy"))
    answer = rig.read()
    assert [one["grpc-status"] for one in answer.headers] == ["12", "12"]
    assert answer.headers[1]["grpc-accept-encoding"] == "identity,gzip"
    assert not rig.calls


def test_compressed_requests_are_unpacked_within_bounds() -> None:
    rig = Rig(Limits(message_bytes=1000)).hello()
    for stream_id, content in ((1, b"x" * 1000), (3, b"x" * 1001)):
        packed = gzip.compress(content)
        rig.request(stream_id, changed(grpc_encoding="gzip"))
        rig.data(b"\1" + len(packed).to_bytes(4, "big") + packed, stream_id)
    assert rig.echoes[0].heard == [b"x" * 1000]
    assert rig.read().headers[-1]["grpc-status"] == "8"


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_what_is_not_compressed_as_announced_is_refused(encoding: str) -> None:
    rig = Rig().hello()
    rig.request(fields=changed(grpc_encoding=encoding))
    rig.data(b"\1\0\0\0\3abc")
    assert rig.read().headers[-1]["grpc-status"] == "13"


def test_answers_are_compressed_only_if_asked_and_configured() -> None:
    for configured, accepted, compressed in (
        (True, "identity,gzip", True),
        (True, "identity", False),
        (False, "gzip", False),
    ):
        rig = Rig(Limits(gzip=configured)).hello()
        rig.request(fields=changed(grpc_accept_encoding=accepted))
        rig.data(framed(b"x" * 500))
        answer = rig.read()
        assert (answer.headers[0].get("grpc-encoding") == "gzip") is compressed
        data = answer.data()
        assert (gzip.decompress(data[5:]) if compressed else data[5:]) == b"x" * 500


def test_a_message_over_the_limit_ends_its_call_before_it_has_come() -> None:
    rig = Rig(Limits(message_bytes=1000)).hello()
    rig.request()
    rig.data(b"\0" + (1001).to_bytes(4, "big"))
    assert rig.read().headers[-1]["grpc-status"] == "8"


def test_a_call_that_ends_within_a_message_is_told() -> None:
    rig = Rig().hello()
    rig.request()
    rig.data(framed(b"whole")[:-1], 1, "END_STREAM")
    assert rig.read().headers[-1]["grpc-status"] == "13"


def test_padding_and_a_content_length_are_allowed() -> None:
    rig = Rig().hello()
    rig.request(1)
    rig.data(framed(b"padded"), 1, "PADDED", pad_length=30)
    rig.request(3, changed(content_length=str(len(framed(b"measured")))))
    rig.data(framed(b"measured"), 3, "END_STREAM")
    assert [echo.heard for echo in rig.echoes] == [[b"padded"], [b"measured"]]
    assert rig.failure is None


def test_the_callers_trailers_end_its_call() -> None:
    rig = Rig().hello()
    rig.request()
    rig.data(framed(b"x"))
    rig.request(fields=[("some", "trailer")], end=True)
    assert rig.read().headers[-1] == {"grpc-status": "0"}


def test_a_reset_in_the_middle_of_a_message_forgets_the_call() -> None:
    rig = Rig(windows=10).hello()
    rig.request()
    rig.data(framed(b"x" * 100))
    assert len(rig.read().data()) == 10
    rig.frames_of(RstStreamFrame(1, ErrorCodes.CANCEL), WindowUpdateFrame(1, 1000))
    rig.data(framed(b"late"))
    assert rig.echoes[0].ends == [End.GONE]
    assert rig.echoes[0].heard == [b"x" * 100]
    assert rig.failure is None
    assert rig.read().data() == b""


# Order and sizes of frames.


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (DataFrame(1, b"idle"), ErrorCodes.PROTOCOL_ERROR),
        (RstStreamFrame(1), ErrorCodes.PROTOCOL_ERROR),
        (WindowUpdateFrame(1, 10), ErrorCodes.PROTOCOL_ERROR),
        (ContinuationFrame(1, b"x", flags=["END_HEADERS"]), ErrorCodes.PROTOCOL_ERROR),
        (HeadersFrame(2, b"\x83", flags=["END_HEADERS"]), ErrorCodes.PROTOCOL_ERROR),
        (HeadersFrame(1, b"\xff\xff\xff\xff", flags=["END_HEADERS"]), ErrorCodes.PROTOCOL_ERROR),
    ],
)
def test_frames_where_none_may_be_end_the_connection(wrong: Frame, expected: ErrorCodes) -> None:
    rig = Rig().hello()
    rig.frames_of(wrong)
    assert code(rig) is expected


@pytest.mark.parametrize(
    "between", [DataFrame(1, b"x"), PingFrame(0), HeadersFrame(3, flags=["END_HEADERS"])]
)
def test_a_header_block_is_not_interrupted(between: Frame) -> None:
    rig = Rig().hello()
    block = rig.header_block()
    rig.frames_of(HeadersFrame(1, block[:5]), between, ContinuationFrame(1, block[5:], flags=["END_HEADERS"]))
    assert code(rig) is ErrorCodes.PROTOCOL_ERROR


def test_a_header_block_may_come_in_pieces() -> None:
    rig = Rig().hello()
    block = rig.header_block()
    rig.frames_of(HeadersFrame(1, block[:5]), ContinuationFrame(1, block[5:], flags=["END_HEADERS"]))
    assert len(rig.calls) == 1


def test_endless_continuation_is_cut_off() -> None:
    rig = Rig().hello()
    rig.frames_of(HeadersFrame(1, rig.header_block()))
    for _ in range(100_000):
        rig.frames_of(ContinuationFrame(1, b""))
        if rig.failure is not None:
            break
    assert code(rig) in (ErrorCodes.ENHANCE_YOUR_CALM, ErrorCodes.PROTOCOL_ERROR)


def test_headers_that_unpack_to_too_much_are_cut_off() -> None:
    rig = Rig().hello()
    rig.request(fields=[*REQUEST, ("big", "x" * 4000)])
    rig.request(3, fields=[*REQUEST, *([("big", "x" * 4000)] * 10)])
    assert code(rig) is ErrorCodes.ENHANCE_YOUR_CALM


def test_a_frame_that_is_too_long_is_not_waited_for() -> None:
    rig = Rig().hello()
    rig.give((16_385).to_bytes(3, "big") + b"\0\0" + (1).to_bytes(4, "big"))
    assert code(rig) is ErrorCodes.FRAME_SIZE_ERROR


@pytest.mark.parametrize(
    "wrong",
    [
        b"\0\0\5\6\0\0\0\0\0abcde",
        b"\0\0\3\4\0\0\0\0\0abc",
        b"\0\0\3\x08\0\0\0\0\0abc",
        b"\0\0\1\3\0\0\0\0\1a",
    ],
    ids=["ping", "settings", "window update", "reset"],
)
def test_frames_of_another_size_than_theirs_end_the_connection(wrong: bytes) -> None:
    rig = Rig().hello()
    rig.request()
    rig.read()
    rig.give(wrong)
    assert code(rig) in (ErrorCodes.FRAME_SIZE_ERROR, ErrorCodes.PROTOCOL_ERROR)


def test_unknown_frames_priorities_and_settings_are_ignored() -> None:
    rig = Rig().hello()
    rig.request()
    rig.give(frame(0xBE, 0, 0, b"whatever") + frame(0xEF, 0xFF, 1, b""))
    rig.frames_of(
        PriorityFrame(1, depends_on=7, stream_weight=3),
        PriorityFrame(9, depends_on=1),
        SettingsFrame(0, {0xF0: 12}),
    )
    rig.data(framed(b"still here"))
    assert rig.read().data() == framed(b"still here")


def test_data_after_the_end_is_an_error() -> None:
    rig = Rig().hello()
    rig.request()
    rig.data(b"", 1, "END_STREAM")
    rig.read()
    rig.data(framed(b"more"))
    assert rig.read().resets == {1: ErrorCodes.STREAM_CLOSED}
    assert rig.echoes[0].heard == []


# Windows.


def test_a_message_waits_for_the_windows_and_goes_by_pieces() -> None:
    rig = Rig(windows=10).hello()
    rig.request()
    rig.data(framed(b"x" * 95))
    received = rig.read().data()
    assert len(received) == 10
    rig.frames_of(WindowUpdateFrame(1, 20))
    received += rig.read().data()
    assert len(received) == 30
    rig.frames_of(SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 5}), WindowUpdateFrame(1, 4))
    assert rig.read().data() == b"", "its window is below nothing"
    rig.frames_of(SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 1000}))
    assert received + rig.read().data() == framed(b"x" * 95)


def test_the_connections_window_is_shared_and_nobody_is_forgotten() -> None:
    rig = Rig(windows=1_000_000).hello()
    for stream_id in (1, 3, 5):
        rig.request(stream_id)
    message = b"x" * 40_000
    for echo in rig.echoes:
        echo.tell(message)
    rig.pump()
    answer = rig.read()
    received = [answer.data(stream_id) for stream_id in (1, 3, 5)]
    assert sum(map(len, received)) == 65_535
    rig.frames_of(WindowUpdateFrame(0, 1_000_000))
    answer = rig.read()
    assert [one + answer.data(id_) for one, id_ in zip(received, (1, 3, 5), strict=True)] == [
        framed(message)
    ] * 3


def test_frames_are_no_longer_than_the_peer_allows() -> None:
    rig = Rig(windows=1_000_000).hello()
    rig.request()
    rig.echoes[0].tell(b"x" * 50_000)
    rig.pump()
    sizes = [one.body_len for one in rig.answered() if isinstance(one, DataFrame)]
    assert sizes == [16384, 16384, 16384, 853]


def test_the_same_message_is_framed_once_for_everyone() -> None:
    rigs = [Rig(windows=1_000_000).hello() for _ in range(3)]
    message = b"x" * 1000
    for rig in rigs:
        rig.session.frames = rigs[0].frames
        rig.request()
        rig.echoes[0].tell(message)
        rig.pump()
    assert rigs[0].frames.made == 1
    assert all(rig.read().data() == framed(message) for rig in rigs)


@pytest.mark.parametrize("stream_id", [0, 1])
def test_credit_beyond_the_widest_window_is_an_error(stream_id: int) -> None:
    rig = Rig().hello()
    rig.request()
    rig.frames_of(WindowUpdateFrame(stream_id, 2**31 - 1))
    if stream_id:
        assert rig.read().resets == {1: ErrorCodes.FLOW_CONTROL_ERROR}
        assert rig.echoes[0].ends == [End.GONE]
    else:
        assert code(rig) is ErrorCodes.FLOW_CONTROL_ERROR


def test_settings_that_widen_a_window_too_far_are_an_error() -> None:
    rig = Rig().hello()
    rig.request()
    rig.frames_of(
        WindowUpdateFrame(1, 2**30), SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 2**31 - 1})
    )
    rig.read()
    assert rig.failure is not None
    assert rig.failure.code is ErrorCodes.FLOW_CONTROL_ERROR


def test_no_credit_at_all_is_an_error() -> None:
    rig = Rig().hello()
    rig.request()
    rig.read()
    rig.give(b"\0\0\4\x08\0\0\0\0\1\0\0\0\0")
    assert rig.failure is not None or rig.read().resets


def test_what_was_used_may_be_sent_again_for_ever() -> None:
    rig = Rig().hello()
    rig.request()
    window = {0: 1024 * 1024, 1: 1024 * 1024}
    chunk = framed(b"x" * 16_000)
    for _ in range(300):
        assert min(window.values()) >= len(chunk)
        rig.data(chunk)
        rig.echoes[0].say.clear()
        for id_, credit in rig.read().credit.items():
            window[id_] += credit
        window = {id_: left - len(chunk) for id_, left in window.items()}
    assert rig.failure is None


def test_more_than_the_window_is_an_error() -> None:
    rig = Rig()
    rig.called = lambda call: rig.calls.append(call)  # Nobody uses what comes.
    rig.hello()
    rig.request()
    for _ in range(65):
        rig.data(bytes(16_384))
    assert rig.failure is not None
    assert rig.failure.code is ErrorCodes.FLOW_CONTROL_ERROR


# Floods and ends.


@pytest.mark.parametrize(
    "flood",
    [
        PingFrame(0),
        SettingsFrame(0),
        DataFrame(1, b""),
        PriorityFrame(1, depends_on=3),
        ExtensionFrame(type=0xBE, stream_id=0),
        WindowUpdateFrame(1, 1),
    ],
    ids=lambda one: type(one).__name__,
)
def test_floods_are_cut_off(flood: Frame) -> None:
    rig = Rig().hello()
    rig.request()
    rig.read()
    for _ in range(200):
        rig.give(flood.serialize() * 100)
        if rig.failure is not None:
            break
    assert rig.failure is not None
    assert rig.failure.code is ErrorCodes.ENHANCE_YOUR_CALM


def test_rapid_resets_are_cut_off() -> None:
    rig = Rig().hello()
    for stream_id in range(1, 2001, 2):
        rig.request(stream_id)
        rig.frames_of(RstStreamFrame(stream_id, ErrorCodes.CANCEL))
        if rig.failure is not None:
            break
    assert rig.failure is not None
    assert rig.failure.code is ErrorCodes.ENHANCE_YOUR_CALM
    assert not rig.calls


def test_a_peer_that_pings_now_and_then_does_so_for_ever() -> None:
    rig = Rig().hello()
    for _ in range(10_000):
        rig.time += 1
        rig.frames_of(PingFrame(0))
    assert rig.failure is None


def test_more_calls_than_allowed_on_one_connection_are_an_error() -> None:
    rig = Rig(Limits(concurrent=3)).hello()
    for stream_id in (1, 3, 5, 7):
        rig.request(stream_id)
    assert rig.failure is not None


def test_calls_go_on_when_one_side_leaves_and_no_new_one_is_taken() -> None:
    rig = Rig().hello()
    rig.request(1)
    rig.session.leave()
    assert rig.read().goaways == [ErrorCodes.NO_ERROR]
    rig.request(3)
    rig.data(framed(b"still"), 1)
    answer = rig.read()
    assert answer.resets == {3: ErrorCodes.REFUSED_STREAM}
    assert answer.data(1) == framed(b"still")
    rig.data(b"", 1, "END_STREAM")
    assert rig.closed == ["unused"]


def test_a_peer_that_leaves_has_its_calls_go_on() -> None:
    rig = Rig().hello()
    rig.request(1)
    rig.frames_of(GoAwayFrame(0, 0, ErrorCodes.NO_ERROR))
    rig.data(framed(b"still"), 1)
    assert rig.read().data(1) == framed(b"still")
    assert not rig.closed
    rig.data(b"", 1, "END_STREAM")
    assert rig.closed == ["unused"]


def test_nothing_is_pulled_while_the_socket_is_full() -> None:
    rig = Rig().hello()
    rig.request()
    rig.paused = True
    rig.echoes[0].tell(b"one")
    rig.pump()
    assert list(rig.echoes[0].say) == [b"one"]
    rig.paused = False
    rig.calls[0].wake()
    rig.pump()
    assert rig.read().data() == framed(b"one")


def test_a_call_that_is_not_read_is_dropped_alone() -> None:
    rig = Rig(windows=100).hello()
    for stream_id, size in ((1, 1000), (3, 10), (5, 20)):
        rig.request(stream_id)
        rig.echoes[-1].tell(b"x" * size)
    rig.pump()
    rig.read()
    begun, quick, full = rig.calls
    full.window = 0
    rig.echoes[2].tell(b"more")
    rig.pump()
    for call in (begun, full):
        call.stalled()
    answer = rig.read()
    assert answer.resets == {1: ErrorCodes.CANCEL, 5: ErrorCodes.NO_ERROR}
    assert answer.headers[-1]["grpc-status"] == "14", "it had no part of a message"
    assert [echo.ends for echo in rig.echoes] == [[End.STALLED], [], [End.STALLED]]
    rig.echoes[1].tell(b"y")
    rig.pump()
    assert rig.read().data(3) == framed(b"y")
    assert not quick.over
