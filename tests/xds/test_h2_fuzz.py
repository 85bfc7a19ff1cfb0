"""Ten thousand frames that mean nothing, or nearly something: a session ends its connection or goes on, and
never raises anything else, stalls, or keeps what it need not.
"""

import gc
import random
import tracemalloc

import pytest
from hyperframe.frame import PingFrame, PriorityFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

from isthmus.xds.h2_frames import frame
from isthmus.xds.limits import Limits
from tests.xds.h2_rig import PREFACE, REQUEST, Rig, framed

_FRAMES = 10_000
_LIMITS = Limits(message_bytes=50_000)


def _likely(chance: random.Random, rig: Rig) -> bytes:
    """A frame that is plausible but for one thing or another."""
    stream_id = chance.choice((0, 1, 1, 3, 5, 7, 2, 2**31 - 1))
    match chance.randrange(9):
        case 0:
            fields = [(":method", "POST"), (":path", "/test.Test/Echo"), ("content-type", "application/grpc")]
            chance.shuffle(fields)
            return frame(1, chance.choice((0, 4, 5, 0x24)), stream_id, rig.header_block(fields))
        case 1 | 2:
            size = chance.choice((0, 1, 10, 1000, 60_000))
            message = framed(chance.randbytes(min(size, 10_000)))
            return frame(0, chance.choice((0, 0, 0, 1, 8)), stream_id, message[: chance.randrange(16_000)])
        case 3:
            return frame(8, 0, stream_id, chance.choice((0, 1, 1000, 2**31 - 1)).to_bytes(4, "big"))
        case 4:
            settings = {chance.randrange(8): chance.choice((0, 1, 16384, 2**31 - 1, 2**32 - 1))}
            return SettingsFrame(0, settings).serialize()
        case 5:
            return frame(3, 0, stream_id, chance.randbytes(4))
        case 6:
            return frame(6, chance.choice((0, 1)), 0, chance.randbytes(8))
        case 7:
            return frame(7, 0, 0, chance.randbytes(8))
        case _:
            return frame(chance.randrange(256), chance.randrange(256), stream_id, chance.randbytes(30))


@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_is_sent_breaks_a_session(seed: int) -> None:
    chance = random.Random(seed)
    given = connections = 0
    while given < _FRAMES // 4:
        connections += 1
        rig = Rig(_LIMITS).hello()
        rig.request(1)
        while rig.failure is None and given < _FRAMES // 4:
            data = _likely(chance, rig)
            given += 1
            if chance.random() < 0.1 and data:
                at = chance.randrange(len(data))
                data = data[:at] + chance.randbytes(1) + data[at + 1 :]
            cut = chance.randrange(len(data) + 1)
            rig.give(data[:cut])
            rig.give(data[cut:])
            for echo in rig.echoes:
                while len(echo.say) > 10:
                    echo.say.popleft()
            rig.sent.clear()
        if rig.failure is not None:
            assert not rig.calls, "calls end with their connection"
            assert not rig.session.calls
    assert connections < given


def test_noise_is_no_http() -> None:
    chance = random.Random(1)
    for _ in range(1000):
        rig = Rig()
        rig.give(chance.randbytes(100))
        assert rig.failure is not None
        rig = Rig()
        rig.give(PREFACE + SettingsFrame(0).serialize() + chance.randbytes(100))


def test_after_all_windows_are_open_what_was_to_be_said_is_said() -> None:
    """Whatever peers do with windows, no byte is lost, doubled or sent without leave."""
    for seed in range(50):
        chance = random.Random(seed)
        rig = Rig(windows=chance.choice((0, 1, 100, 65_535))).hello()
        rig.request()
        said, received = bytearray(), bytearray()
        connection, stream = 65_535, rig.calls[0].window
        for _ in range(60):
            if chance.random() < 0.5:
                message = chance.randbytes(chance.choice((0, 5, 3000, 40_000)))
                said += framed(message)
                rig.echoes[0].tell(message)
                rig.pump()
            else:
                stream_id, step = chance.choice((0, 1)), chance.choice((1, 7, 500, 30_000))
                connection, stream = (connection, stream + step) if stream_id else (connection + step, stream)
                rig.frames_of(WindowUpdateFrame(stream_id, step))
            heard = rig.read().data()
            connection, stream = connection - len(heard), stream - len(heard)
            assert min(connection, stream) >= 0
            received += heard
        rig.frames_of(WindowUpdateFrame(0, 2**30), WindowUpdateFrame(1, 2**30))
        assert received + rig.read().data() == said


def test_ten_thousand_frames_that_are_allowed_leave_nothing_behind() -> None:
    """Calls that come, say something and go; pings, settings, credit and priorities between them."""
    rig, chance = Rig().hello(), random.Random(7)
    sizes: list[int] = []
    stream_id = 1

    def frames(count: int) -> None:
        nonlocal stream_id
        for _ in range(count):
            rig.time += 1  # So that nothing is a flood.
            rig.request(stream_id, [*REQUEST, ("x-forwarded-for", f"10.0.{stream_id % 7}.1")])
            rig.data(framed(b"x" * chance.randrange(1000)), stream_id)
            rig.frames_of(WindowUpdateFrame(stream_id, 1000), WindowUpdateFrame(0, 1000))
            rig.frames_of(PingFrame(0), SettingsFrame(0, {4: chance.randrange(10_000, 70_000)}))
            rig.frames_of(PriorityFrame(stream_id, depends_on=0, stream_weight=7))
            if stream_id % 4 == 1:
                rig.frames_of(RstStreamFrame(stream_id, 8))
            else:
                rig.data(b"", stream_id, "END_STREAM")
            rig.sent.clear()
            rig.echoes.clear()
            stream_id += 2

    tracemalloc.start()
    try:
        for _ in range(3):
            frames(1250 // 3)
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert rig.failure is None
    assert not rig.calls
    assert not rig.session.calls
    assert sizes[2] - sizes[1] < 100_000, "416 calls leave less than a quarter of a KiB each"
