import asyncio
from collections.abc import Callable
from pathlib import Path

from isthmus.lib.lifecycle import task_scope
from isthmus.statsd.bridge import Bridge
from isthmus.statsd.mapper import Mapper
from isthmus.statsd.reloading import LOOK_SECONDS, file_version, load_rules, watch_mapping
from tests.statsd.kit import bridge, shown
from tests.support.virtual_time import run_in_virtual_time


def watching(file: Path, *then: Callable[[Bridge, asyncio.Event], None]) -> Bridge:
    """The bridge after each of `then` was done to a watched file between two looks, and two looks more."""

    async def run() -> Bridge:
        asked = asyncio.Event()
        taken = bridge()
        taken.remap(Mapper(load_rules(file)))
        watch = watch_mapping(file, taken, Mapper, asked, in_force=file_version(file))
        async with task_scope() as tasks:
            tasks.serve(watch, name="watch")
            await asyncio.sleep(LOOK_SECONDS / 2)
            for step in then:
                step(taken, asked)
                await asyncio.sleep(LOOK_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)
        taken.take(b"a:1|c")
        return taken

    return run_in_virtual_time(run())


def overwrite(file: Path, name: str) -> None:
    file.write_text(f"mappings: [{{match: a, name: '{name}'}}]")


def mapping(file: Path, name: str) -> Path:
    overwrite(file, name)
    return file


def test_a_changed_file_is_in_force_soon(tmp_path: Path):
    file = mapping(tmp_path / "mapping.yml", "before")
    taken = watching(file, lambda _, __: overwrite(file, "afterwards"))
    assert shown(taken) == {"afterwards": 1}
    assert taken.counts.reloads == {"success": 1, "failure": 0}


def test_a_folder_swapped_below_the_file_is_seen(tmp_path: Path):
    for name in ("first", "later"):
        (tmp_path / name).mkdir()
        mapping(tmp_path / name / "mapping.yml", name)
    (tmp_path / "data").symlink_to("first")

    def swap(_: Bridge, __: asyncio.Event) -> None:
        (tmp_path / "new").symlink_to("later")
        (tmp_path / "new").rename(tmp_path / "data")

    assert shown(watching(tmp_path / "data" / "mapping.yml", swap)) == {"later": 1}


def test_a_bad_file_leaves_the_last_good_one_and_is_told_of_once(tmp_path: Path):
    file = mapping(tmp_path / "mapping.yml", "good")
    taken = watching(file, lambda _, __: overwrite(file, "not a name"))
    assert shown(taken) == {"good": 1}
    assert taken.counts.reloads == {"success": 0, "failure": 1}


def test_a_file_that_is_gone_leaves_the_last_good_one(tmp_path: Path):
    file = mapping(tmp_path / "mapping.yml", "good")
    taken = watching(file, lambda _, __: file.unlink())
    assert shown(taken) == {"good": 1}
    assert taken.counts.reloads == {"success": 0, "failure": 1}


def test_who_asks_has_it_read_again_unchanged(tmp_path: Path):
    file = mapping(tmp_path / "mapping.yml", "same")
    taken = watching(file, lambda _, asked: asked.set())
    assert taken.counts.reloads == {"success": 1, "failure": 0}


def test_a_file_that_is_being_written_is_awaited(tmp_path: Path):
    file = mapping(tmp_path / "mapping.yml", "before")
    taken = watching(file, lambda _, __: overwrite(file, "x y"), lambda _, __: overwrite(file, "whole"))
    assert shown(taken) == {"whole": 1}
    assert taken.counts.reloads == {"success": 1, "failure": 0}
