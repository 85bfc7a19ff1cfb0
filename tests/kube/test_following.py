"""Hours of watching in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.following import Event, Phase, WatchState, follow
from isthmus.kube.kinds import CONFIG_MAP
from isthmus.kube.objects import ConfigMap
from isthmus.kube.reflector import Removed, Synced, Upserted
from isthmus.lib.lifecycle import task_scope
from tests.kube.fake_source import FakeSource, line
from tests.support.virtual_time import run_in_virtual_time

HOUR = 3600.0


class Story:
    """What was heard of a source, with the time of each event."""

    def __init__(self, source: FakeSource) -> None:
        self.source = source
        self.events: list[tuple[float, str]] = []
        self.states: list[WatchState] = []

    def deliver(self, event: Event[ConfigMap]) -> None:
        match event:
            case Upserted(item):
                told = f"{item.metadata.name}={item.data['v']}"
            case Removed(item):
                told = f"-{item.metadata.name}"
            case Synced():
                told = "synced"
        self.events.append((asyncio.get_running_loop().time(), told))

    @property
    def told(self) -> list[str]:
        return [told for _, told in self.events]

    @property
    def phases(self) -> list[Phase]:
        return [state.phase for state in self.states]


def play(source: FakeSource, scene: Callable[[Story], Awaitable[None]]) -> Story:
    """Follow the source while the scene lasts."""

    async def main() -> Story:
        story = Story(source)
        async with task_scope() as scope:
            work = follow(source, CONFIG_MAP, story.deliver, report=story.states.append, random=Random(7))
            scope.serve(work, name="follow")
            await scene(story)
        return story

    return run_in_virtual_time(main())


def test_a_server_with_bookmarks_is_never_probed_and_listed_once() -> None:
    async def day(_: Story) -> None:
        await asyncio.sleep(24 * HOUR)

    source = FakeSource(bookmarks=60)
    story = play(source, day)
    assert source.probes == []
    assert len(source.lists) == 1
    assert 24 * 6 <= len(source.opened) <= 24 * 12 + 1
    assert story.phases == [Phase.LISTING, Phase.SYNCED]


def test_a_quiet_server_without_bookmarks_is_probed_ever_more_rarely() -> None:
    async def day(_: Story) -> None:
        await asyncio.sleep(24 * HOUR)

    source = FakeSource(bookmarks=None)
    play(source, day)
    assert 1 <= len(source.probes) <= 10
    assert len(source.lists) == 1


def test_a_server_without_bookmarks_whose_other_kinds_change_is_not_reopened_for_ever() -> None:
    async def day(story: Story) -> None:
        for _ in range(24 * 60):
            story.source.elsewhere()
            await asyncio.sleep(60)

    source = FakeSource(bookmarks=None)
    story = play(source, day)
    assert 1 <= len(source.probes) <= 10
    assert len(source.lists) <= 3
    assert Phase.FAILED not in story.phases


def test_watches_that_never_deliver_are_replaced_by_lists_every_few_minutes() -> None:
    async def scene(story: Story) -> None:
        source = story.source
        await asyncio.sleep(100)  # a bookmark has come
        source.stuck = True  # all watches from the next one on
        await asyncio.sleep(600)
        for value in ("1", "2", "3"):
            source.put("a", value)
            put_at = asyncio.get_running_loop().time()
            await asyncio.sleep(180)
            assert story.told[-1] == f"a={value}"
            assert story.events[-1][0] - put_at < 180

    play(FakeSource(bookmarks=60), scene)


def test_a_watch_that_ends_amid_a_line_has_failed() -> None:
    async def scene(_: Story) -> None:
        await asyncio.sleep(5)

    source = FakeSource()
    source.always, source.lasts = b"<html>It works!</html>", 0.5
    failed = [state for state in play(source, scene).states if state.error]
    assert "broke off in the middle of a line" in str(failed[0].error)


def test_a_watch_that_opens_and_breaks_again_and_again_is_not_called_good_between() -> None:
    async def scene(story: Story) -> None:
        await asyncio.sleep(30)
        assert story.phases[:2] == [Phase.LISTING, Phase.SYNCED]
        assert set(story.phases[2:]) == {Phase.FAILED}
        story.source.always = b""
        await asyncio.sleep(60)
        assert story.phases[-1] is Phase.SYNCED

    source = FakeSource()
    source.always = b"<html>gateway</html>\n"
    play(source, scene)


def test_a_cluster_restored_while_its_watch_was_broken_is_listed_again_at_once() -> None:
    async def scene(story: Story) -> None:
        source = story.source
        source.put("a", "1")
        await asyncio.sleep(5)
        source.put("b", "1")
        await asyncio.sleep(1)
        source.failure = Unreachable("connection refused")
        source.say(b"nonsense\n")
        await asyncio.sleep(1)
        source.restore(source.version - 1)
        source.failure = None
        await asyncio.sleep(5)
        assert story.told == ["a=1", "synced", "b=1", "-b"]

    play(FakeSource(), scene)


def test_what_a_stuck_watch_kept_back_comes_within_a_minute_and_a_half() -> None:
    async def scene(story: Story) -> None:
        story.source.stuck = True
        await asyncio.sleep(1)
        story.source.put("a", "1")
        story.source.stuck = False
        await asyncio.sleep(120)

    story = play(FakeSource(bookmarks=60), scene)
    assert story.told == ["synced", "a=1"]
    assert story.events[-1][0] < 90
    assert len(story.source.lists) == 1


def test_patience_grown_with_a_silent_server_shrinks_when_it_hid_a_change() -> None:
    async def scene(story: Story) -> None:
        source = story.source
        await asyncio.sleep(2 * HOUR)
        calm = len(source.probes)
        await asyncio.sleep(2 * HOUR)
        assert len(source.probes) == calm
        source.stuck = True
        await asyncio.sleep(700)  # the next watch is a stuck one
        source.put("a", "1")
        source.stuck = False
        await asyncio.sleep(700)
        assert story.told[-1] == "a=1"

    play(FakeSource(bookmarks=None), scene)


def test_a_failed_probe_reopens_the_watch_and_says_so() -> None:
    async def scene(story: Story) -> None:
        story.source.stuck = True
        await asyncio.sleep(10)
        story.source.failure = Unreachable("it is away")
        await asyncio.sleep(80)
        assert story.phases[-1] is Phase.FAILED
        story.source.failure = None
        story.source.stuck = False
        await asyncio.sleep(31)

    story = play(FakeSource(), scene)
    assert story.phases[-1] is Phase.SYNCED
    assert len(story.source.lists) == 1


def test_a_server_that_is_too_busy_for_a_probe_keeps_its_watch() -> None:
    async def scene(story: Story) -> None:
        await asyncio.sleep(1)
        story.source.failure = ApiError(429, "TooManyRequests", "")
        await asyncio.sleep(100)

    story = play(FakeSource(bookmarks=None), scene)
    assert len(story.source.probes) == 1
    assert len(story.source.opened) == 1


def test_a_restored_cluster_is_listed_again_though_its_watch_is_silent() -> None:
    async def scene(story: Story) -> None:
        source = story.source
        source.put("a", "1")
        source.put("b", "2")
        await asyncio.sleep(1)
        source.restore(101)
        await asyncio.sleep(90)

    story = play(FakeSource(bookmarks=None), scene)
    assert story.told == ["a=1", "b=2", "synced", "-b"]


def test_equal_versions_of_another_history_are_told_apart_by_content() -> None:
    async def scene(story: Story) -> None:
        source = story.source
        source.put("a", "before")
        await asyncio.sleep(1)
        source.restore(100)
        source.put("a", "after")
        source.say(line("MODIFIED", "z", 99))
        await asyncio.sleep(1)

    story = play(FakeSource(), scene)
    assert story.told[:3] == ["a=before", "synced", "a=after"]


def test_it_never_gives_up_and_goes_on_within_half_a_minute() -> None:
    async def scene(story: Story) -> None:
        story.source.failure = ApiError(500, "InternalError", "etcd is away")
        await asyncio.sleep(10 * HOUR)
        story.source.failure = None
        story.source.put("a", "1")
        await asyncio.sleep(31)

    story = play(FakeSource(), scene)
    assert story.told == ["a=1", "synced"]
    failures = [state for state in story.states if state.phase is Phase.FAILED]
    assert 10 * HOUR / 31 <= len(failures) <= 10 * HOUR / 14
    assert all(state.current_at == 0 and state.retry_in <= 30 for state in failures)


def test_the_servers_wish_for_patience_is_honoured() -> None:
    async def scene(story: Story) -> None:
        story.source.failure = ApiError(429, "TooManyRequests", "", retry_after=50)
        await asyncio.sleep(60)

    assert len(play(FakeSource(), scene).source.lists) == 2


def test_a_server_that_ends_every_watch_at_once_is_not_stormed() -> None:
    async def scene(story: Story) -> None:
        story.source.lasts = 0.0
        await asyncio.sleep(HOUR)

    assert len(play(FakeSource(), scene).source.opened) < HOUR / 14


def test_a_server_that_finds_every_version_too_old_is_not_stormed_and_shown_as_failed() -> None:
    async def scene(story: Story) -> None:
        story.source.say(b'{"type":"ERROR","object":{"code":410,"reason":"Expired"}}\n')
        story.source.version -= 1
        await asyncio.sleep(HOUR)

    story = play(FakeSource(), scene)
    assert len(story.source.lists) < HOUR / 14
    assert Phase.FAILED in story.phases


def test_a_bad_object_keeps_its_last_good_version_and_is_named_until_corrected() -> None:
    async def scene(story: Story) -> None:
        source = story.source
        source.put("a", "1")
        await asyncio.sleep(1)
        source.say(line("MODIFIED", "a", 102).replace(b'{"v": ""}', b'{"v": 5}'))
        source.say(line("ADDED", "b", 103))
        await asyncio.sleep(1)
        (rejected,) = story.states[-1].rejected
        assert (str(rejected.ref), rejected.reason) == (
            "default/a",
            "Expected `str`, got `int` - at `$.data[...]`",
        )
        source.say(line("MODIFIED", "a", 104, "2"))
        await asyncio.sleep(1)
        assert story.states[-1].rejected == ()

    assert play(FakeSource(), scene).told == ["a=1", "synced", "b=", "a=2"]


def test_nonsense_in_a_watch_is_a_failure_that_is_resumed() -> None:
    async def scene(story: Story) -> None:
        await asyncio.sleep(1)
        story.source.version += 1
        story.source.say(b"<html>gateway</html>\n")
        await asyncio.sleep(60)

    story = play(FakeSource(), scene)
    assert "no JSON" in str(next(state.error for state in story.states if state.error))


def test_an_error_of_the_one_who_listens_ends_the_watch() -> None:
    async def main() -> None:
        def deliver(_: Event[ConfigMap]) -> None:
            raise ValueError("a bug")

        await follow(FakeSource(), CONFIG_MAP, deliver)

    with pytest.raises(ValueError, match="a bug"):
        run_in_virtual_time(main())


def test_a_watch_that_the_server_forgets_to_end_is_ended() -> None:
    async def scene(story: Story) -> None:
        await asyncio.sleep(2 * HOUR)

    source = FakeSource()
    source.lasts = 1e6
    assert len(play(source, scene).source.opened) >= 11
