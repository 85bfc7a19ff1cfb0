"""The mapping file: read at the start, and again whenever it changes or somebody asks.

Kubernetes swaps the folder below a mounted ConfigMap, which no watch on the file would see: it is looked at.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import structlog

from isthmus.statsd.bridge import Bridge
from isthmus.statsd.errors import MappingRefused
from isthmus.statsd.mapper import Mapper
from isthmus.statsd.mapping_file import read_mapping_file
from isthmus.statsd.rules import Rules, check_mapping

logger = structlog.get_logger()

LOOK_SECONDS = 2.0
Version = tuple[int, ...] | None
_LARGEST_FILE = 16 * 1024 * 1024


def load_rules(file: Path | None) -> Rules:
    """The rules of a mapping file; without one, none. Raises MappingRefused."""
    if file is None:
        return Rules()
    try:
        with file.open("rb") as opened:
            text = opened.read(_LARGEST_FILE + 1)
        if len(text) > _LARGEST_FILE:
            raise MappingRefused(str(file), "it is larger than 16 MiB")
        return check_mapping(read_mapping_file(text.decode()), _warn)
    except OSError as error:
        raise MappingRefused(str(file), f"it cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise MappingRefused(str(file), "it is not UTF-8") from error


def _warn(field: str, reason: str) -> None:
    logger.warning("mapping field has no effect", field=field, reason=reason)


async def watch_mapping(
    file: Path,
    bridge: Bridge,
    make_mapper: Callable[[Rules], Mapper],
    asked: asyncio.Event,
    *,
    in_force: Version,
) -> NoReturn:
    """Put the file in force when it changed, or at once when `asked` is set. `in_force` is what was read.

    A bad file leaves the last good one be. One that changes from look to look is being written, and awaited.
    """
    seen = last = in_force
    while True:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await asked.wait()
        except TimeoutError:
            before, last = last, file_version(file)
            if last == seen or last != before:
                continue
        asked.clear()
        seen = last = file_version(file)
        _reload(file, bridge, make_mapper)


def _reload(file: Path, bridge: Bridge, make_mapper: Callable[[Rules], Mapper]) -> None:
    try:
        rules = load_rules(file)
    except MappingRefused as error:
        bridge.counts.reloads["failure"] += 1
        logger.error("mapping is refused, the last good one stays", reason=str(error))
    else:
        bridge.remap(make_mapper(rules))
        bridge.counts.reloads["success"] += 1
        logger.info("mapping is in force", mappings=len(rules.rules))


def file_version(file: Path) -> Version:
    """What tells one version of the file from another, None where there is no file."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size)
