"""What a lab could leave behind on a machine, and the processes that live in one."""

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isthmus.lab.plan import STATE


@dataclass(frozen=True)
class Traces:
    """Everything of the machine that a lab touches."""

    namespaces: tuple[str, ...]
    links: tuple[str, ...]
    routes: str
    rules: list[str]
    mounts: tuple[str, ...]
    files: list[str]


def traces() -> Traces:
    netns = Path("/run/netns")
    return Traces(
        namespaces=tuple(sorted(entry.name for entry in netns.iterdir())) if netns.exists() else (),
        links=tuple(sorted(os.listdir("/sys/class/net"))),
        routes=run("ip", "route", "show", "table", "all"),
        rules=[line for line in run("iptables-save").splitlines() if line.startswith("-")],
        mounts=tuple(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        files=sorted(os.listdir("/run")),
    )


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class LabProcessId:
    """A process in a network namespace of the lab; `started` tells it from a later one of that number."""

    pid: int
    started: str
    command: str

    def is_alive(self) -> bool:
        return _started(self.pid) == self.started


def lab_processes() -> list[LabProcessId]:
    return list(_lab_processes())


def _lab_processes() -> Iterator[LabProcessId]:
    own = {entry.stat().st_ino for entry in Path("/run/netns").glob("isthmus-*")}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "ns/net").stat().st_ino in own:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                yield LabProcessId(int(entry.name), _started(int(entry.name)), command)
        except OSError:
            continue


def _started(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def assert_nothing_left(before: Traces, processes: list[LabProcessId]) -> None:
    deadline = time.monotonic() + 2
    while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [process for process in processes if process.is_alive()] == []
    assert traces() == before
    assert not STATE.exists()
