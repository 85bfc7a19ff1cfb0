import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from isthmus.lab.programs import running_programs
from isthmus.lib.errors import UserError
from tests.lab.assets_folder import program

WAIT = "exec sleep 600"


def script(folder: Path, name: str, work: str) -> list[str]:
    program(folder / name, f"#!/bin/sh\n{work}\n")
    return [str(folder / name)]


def is_there(pid: int) -> bool:
    """Whether the process runs: a dead one that nobody has waited for does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (
            "for n in 1 2 3 4 5 6 7 8 9; do echo line $n; done; printf unfinished >&2; exit 3",
            " ended with exit code 3. It printed last:"
            + "".join(f"\n  line {number}" for number in range(3, 10))
            + "\n  unfinished",
        ),
        ("exit 0", " ended with exit code 0, and printed nothing."),
        ("kill -KILL $$", " ended by signal 9, and printed nothing."),
        ("sleep 600 & echo has a child; exit 1", " ended with exit code 1. It printed last:\n  has a child"),
    ],
    ids=["words", "silent", "killed", "child"],
)
async def test_a_program_that_ends_by_itself_is_named_with_its_last_words_and_the_rest_is_stopped(
    tmp_path: Path, work: str, said: str
) -> None:
    stays, ends = script(tmp_path, "stays", WAIT), script(tmp_path, "ends", work)
    pids: list[int] = []
    with pytest.raises(UserError) as told:
        async with running_programs(stays, ends) as programs:
            pids += [each.process.pid for each in programs]
            await asyncio.Event().wait()
    assert str(told.value) == f"{ends[0]}{said}"
    assert [is_there(pid) for pid in pids] == [False, False]


async def test_a_program_that_cannot_be_run_is_named_and_those_before_it_are_stopped(tmp_path: Path) -> None:
    marks = tmp_path / "pid"
    first = script(tmp_path, "first", f"echo $$ > {marks}; {WAIT}")
    with pytest.raises(UserError, match=f"^{tmp_path}/none cannot be run: No such file or directory"):
        async with running_programs(first, [f"{tmp_path}/none"]):
            raise AssertionError("one of them does not run")
    assert not marks.exists() or not is_there(int(marks.read_text()))


async def test_programs_are_stopped_in_reverse_order(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    ended.touch()
    wait = "sleep 600 & wait"
    commands = [
        script(tmp_path, name, f"trap 'echo {name} >> {ended}; kill $!; exit' TERM; echo up; {wait}")
        for name in ("store", "server")
    ]
    async with running_programs(*commands) as programs, asyncio.timeout(20):
        while not all(each.said for each in programs):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.01)
    assert ended.read_text().split() == ["server", "store"]


_PARENT = """
import asyncio, sys
from isthmus.lab.programs import running_programs

async def main():
    async with running_programs([sys.argv[1]]) as (program,):
        print(program.process.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_programs_do_not_outlive_whoever_is_killed(tmp_path: Path) -> None:
    command = script(tmp_path, "stays", WAIT)
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, *command, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    assert is_there(child)
    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()
    async with asyncio.timeout(20):
        while is_there(child):  # noqa: ASYNC110 - another process's state can only be polled
            await asyncio.sleep(0.01)
