import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from isthmus.lab.node.kubelet_api import read_query
from isthmus.lab.node.logs import (
    MOST_LINE,
    LogFile,
    LogQuery,
    copy_stream,
    format_lines,
    read_log,
    split_lines,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


async def text_of(log: LogFile, query: LogQuery) -> str:
    return b"".join([part async for part in read_log(log, query)]).decode()


def filled(path: Path, count: int) -> LogFile:
    log = LogFile(path / "0.log")
    for number in range(count):
        log.append(
            format_lines([(f"line {number}".encode(), False)], "stdout", NOW + timedelta(seconds=number))
        )
    return log


async def test_what_a_container_says_is_kept_with_time_and_stream(tmp_path: Path) -> None:
    log, stream = LogFile(tmp_path / "c" / "0.log"), asyncio.StreamReader()
    stream.feed_data(b"one\ntwo")
    stream.feed_eof()
    await copy_stream(stream, "stderr", log)
    lines = [line.split(" ") for line in log.path.read_text().splitlines()]
    assert [line[1:] for line in lines] == [["stderr", "F", "one"], ["stderr", "F", "two"]]
    assert all(line[0].endswith("000Z") for line in lines)


async def test_the_last_lines_and_those_since_a_time_can_be_asked_for(tmp_path: Path) -> None:
    log = filled(tmp_path, 5)
    assert await text_of(log, LogQuery(tail=2)) == "line 3\nline 4\n"
    assert await text_of(log, LogQuery(tail=0)) == ""
    assert await text_of(log, LogQuery(since=NOW + timedelta(seconds=4))) == "line 4\n"
    assert await text_of(log, LogQuery(limit=10)) == "line 0\nlin"
    assert (
        await text_of(log, LogQuery(tail=1, timestamps=True))
    ) == "2026-01-02T03:04:09.000678000Z line 4\n"


async def test_a_follower_gets_what_is_new_until_the_run_ends(tmp_path: Path) -> None:
    log, got = filled(tmp_path, 1), list[bytes]()

    async def follow() -> None:
        async for part in read_log(log, LogQuery(follow=True)):
            got.append(part)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(follow())
        await asyncio.sleep(0)
        log.append(format_lines([(b"more", False)], "stdout", NOW))
        await asyncio.sleep(0)
        log.finish()
    assert got == [b"line 0\n", b"more\n"]


async def test_long_lines_are_written_in_parts_and_read_whole(tmp_path: Path) -> None:
    lines, rest = split_lines(b"x" * (MOST_LINE + 5) + b"\nshort\nrest")
    assert [(len(text), partial) for text, partial in lines] == [(MOST_LINE, True), (5, False), (5, False)]
    assert rest == b"rest"
    log = LogFile(tmp_path / "0.log")
    log.append(format_lines(lines, "stdout", NOW))
    assert await text_of(log, LogQuery(tail=2)) == "x" * (MOST_LINE + 5) + "\nshort\n"


def test_log_options_are_read_and_bad_ones_refused() -> None:
    query = read_query({"follow": "true", "tailLines": "3", "sinceSeconds": "60", "timestamps": "1"}, NOW)
    assert query == LogQuery(True, True, 3, NOW - timedelta(seconds=60), None)
    for bad in ({"tailLines": "x"}, {"tailLines": "-1"}, {"sinceTime": "never"}, {"limitBytes": "0"}):
        with pytest.raises(ValueError, match="bad log options"):
            read_query(bad, NOW)
