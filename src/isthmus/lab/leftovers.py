"""Finds and ends what a lab left on the machine, by what the kernel says and not by what a file remembers.

A process is the lab's when its network namespace is, or when its root filesystem is a tmpfs that the lab
named. Nothing else is ever signalled. Each process is held by a pidfd before it is looked at, so a reused
process id cannot be hit.
"""

import ctypes
import os
import select
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeAlias

from isthmus.lib.errors import UserError

Namespace: TypeAlias = tuple[int, int]
"""Device and inode: no two namespaces of a machine share them, in whatever container they were made."""
_MNT_DETACH = 2
_PATIENCE = 10.0
"""Seconds for killed processes to be gone; the kernel frees their memory meanwhile."""


def namespace_of(path: Path) -> Namespace | None:
    """The identity of the namespace that a file of `/proc/PID/ns` or `/run/netns` refers to; None: gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def lives_in(pid: int, namespaces: Collection[Namespace], marks: Collection[str]) -> bool:
    """Whether a process is in one of the network namespaces, or sees a tmpfs whose source is a mark."""
    found = namespace_of(Path(f"/proc/{pid}/ns/net"))
    if found is None:
        return False
    if found in namespaces:
        return True
    try:
        mounts = Path(f"/proc/{pid}/mountinfo").read_text()
    except OSError:
        return False
    return any(source in marks for source in tmpfs_sources(mounts))


def tmpfs_sources(mountinfo: str) -> list[str]:
    """The source names of all tmpfs mounts in the text of a `/proc/PID/mountinfo`."""
    tails = (line.partition(" - ")[2].split() for line in mountinfo.splitlines())
    return [tail[1] for tail in tails if len(tail) > 1 and tail[0] == "tmpfs"]


def end_processes(belongs: Callable[[int], bool]) -> None:
    """SIGKILL every process that belongs, and wait until all of them are gone.

    Repeats until a look finds none: what starts others may do so until it is dead itself.
    """
    deadline = time.monotonic() + _PATIENCE
    while held := _hold(belongs):
        try:
            for pidfd in held.values():
                _kill(pidfd)
            _wait(held, deadline)
        finally:
            for pidfd in held.values():
                os.close(pidfd)


def _hold(belongs: Callable[[int], bool]) -> dict[int, int]:
    held: dict[int, int] = {}
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        if pid == os.getpid():
            continue
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            continue
        if belongs(pid):
            held[pid] = pidfd
        else:
            os.close(pidfd)
    return held


def _kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return


def _wait(held: dict[int, int], deadline: float) -> None:
    for pid, pidfd in held.items():
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise UserError(f"Process {pid} of the lab does not die (in the kernel?); try again, or restart.")


def mount_points_below(directory: Path) -> list[str]:
    """Everything mounted at or below a folder in this mount namespace, in the order of mounting."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if Path(point).is_relative_to(directory)]


def unmount_below(directory: Path) -> None:
    """Unmount everything mounted at or below a folder, in this mount namespace; the latest first.

    By the system call: the program `umount` would leave its own folder in /run.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for point in reversed(mount_points_below(directory)):
        if libc.umount2(point.encode(), _MNT_DETACH) != 0:
            raise OSError(ctypes.get_errno(), f"{point} cannot be unmounted")
