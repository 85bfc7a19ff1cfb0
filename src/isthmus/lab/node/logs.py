"""Container logs on disk, in the form that container runtimes write: `TIME STREAM F|P TEXT` a line.

One file a run of a container: `CLUSTER_DIR/pods/NAMESPACE_POD_UID/CONTAINER/RESTARTS.log`. Logs are kept as
long as their pod, whole: they are not rotated.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from isthmus.lab.node.pulse import Pulse

MOST_LINE = 16 * 1024
"""Bytes of a line's text; longer lines are written in parts, marked `P` (CRI logging)."""
_CHUNK = 1 << 16
Listener = Callable[[str, bytes], None]
"""Takes a stream's name and a piece of what is said on it."""


@dataclass(slots=True)
class LogFile:
    """One run's log: written by its container's task, followed by whoever asks."""

    path: Path
    finished: bool = False
    grown: Pulse = field(default_factory=Pulse)
    listeners: set[Listener] = field(default_factory=set[Listener])
    """Who hears what the container says at once, be it a line or not; no stream: nothing more will come."""

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        self.path.touch()

    def append(self, lines: bytes) -> None:
        """Write complete lines, and wake those who follow."""
        with self.path.open("ab") as file:
            file.write(lines)
        self.grown.fire()

    def finish(self) -> None:
        """Nothing more will come."""
        self.finished = True
        self.grown.fire()
        self.hear("", b"")

    def hear(self, stream: str, said: bytes) -> None:
        """Tell those who listen."""
        for listener in tuple(self.listeners):
            listener(stream, said)


async def copy_stream(stream: asyncio.StreamReader, name: str, log: LogFile) -> None:
    """Write what a container says on one stream (`stdout` or `stderr`) to its log, until it ends."""
    rest = b""
    while chunk := await stream.read(_CHUNK):
        log.hear(name, chunk)
        lines, rest = split_lines(rest + chunk)
        if lines:
            log.append(format_lines(lines, name, datetime.now(UTC)))
    if rest:
        log.append(format_lines([(rest, False)], name, datetime.now(UTC)))


def split_lines(text: bytes) -> tuple[list[tuple[bytes, bool]], bytes]:
    """The lines in `text`, each with whether it continues in the next, and what is no full line yet."""
    *complete, rest = text.split(b"\n")
    lines: list[tuple[bytes, bool]] = []
    for line in complete:
        while len(line) > MOST_LINE:
            lines.append((line[:MOST_LINE], True))
            line = line[MOST_LINE:]
        lines.append((line, False))
    while len(rest) > MOST_LINE:
        lines.append((rest[:MOST_LINE], True))
        rest = rest[MOST_LINE:]
    return lines, rest


def format_lines(lines: list[tuple[bytes, bool]], stream: str, now: datetime) -> bytes:
    """Lines as the log file holds them."""
    stamp = now.strftime("%Y-%m-%dT%H:%M:%S.%f000Z").encode()
    head = stamp + b" " + stream.encode() + b" "
    return b"".join(head + (b"P " if partial else b"F ") + line + b"\n" for line, partial in lines)


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What a reader wants; `since` is a time, `tail` a number of lines, `limit` bytes; None: all."""

    follow: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: datetime | None = None
    limit: int | None = None


async def read_log(log: LogFile, query: LogQuery) -> AsyncIterator[bytes]:
    """The text of a log as `kubectl logs` wants it; with `follow`, until the container's run ends."""
    with log.path.open("rb") as file:
        left = query.limit
        lines = file.read().splitlines(keepends=True)
        if query.tail is not None:
            lines = _last(lines, query.tail)
        while True:
            for line in lines:
                text = _shown(line, query)
                if left is not None:
                    text, left = text[:left], left - len(text[:left])
                if text:
                    yield text
            if left == 0 or not query.follow:
                return
            while not (more := file.read()):
                if log.finished:
                    return
                await log.grown.wait()
            lines = more.splitlines(keepends=True)


def _last(lines: list[bytes], count: int) -> list[bytes]:
    """The last `count` whole lines; the parts of a long one belong together."""
    start = len(lines)
    while start > 0 and count > 0:
        start -= 1
        if start == 0 or lines[start - 1].split(b" ", 3)[2] != b"P":
            count -= 1
    return lines[start:]


def _shown(line: bytes, query: LogQuery) -> bytes:
    stamp, _, tag, text = line.split(b" ", 3)
    if query.since is not None and datetime.fromisoformat(stamp[:26].decode() + "+00:00") < query.since:
        return b""
    shown = stamp + b" " + text if query.timestamps else text
    return shown if tag == b"F" else shown.rstrip(b"\n")
