"""Runs inside a container's new namespaces: builds its root filesystem, gives up rights, becomes its program.

A program of its own, `python -I -S launch.py SPEC STATUS_FD`, that imports nothing of Isthmus and so starts
quickly. It is PID 1 of its PID namespace. SPEC is the JSON of `container.LaunchSpec`. To STATUS_FD it writes
either the process id as the machine sees it, when all is ready for the program, or `error: …`. It must start
as root, in mount, PID and UTS namespaces that it may change.
"""

import ctypes
import fcntl
import json
import os
import shutil
import signal
import sys
import termios
from pathlib import Path
from typing import Any, NoReturn

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 8, 32, 4096
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_OLD_ROOT = "/.machine"
_libc = ctypes.CDLL(None, use_errno=True)


def launch(spec: dict[str, Any], status: int) -> NoReturn:
    """Become the container's program; OSError or ValueError says why it cannot be started."""
    pid = os.readlink("/proc/self")
    _enter_new_root(spec["rootfs_folder"], spec["mark"])
    os.umask(0o022)
    _fill(spec["rootfs"])
    _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    _mount("devpts", "/dev/pts", "devpts", _MS_NOSUID | _MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    _mount("shm", "/dev/shm", "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "mode=1777")
    _checked(_libc.umount2(_OLD_ROOT.encode(), _MNT_DETACH), "unmount of the machine's root")
    os.rmdir(_OLD_ROOT)
    os.makedirs(spec["cwd"], exist_ok=True)
    if spec["read_only_root"]:
        _mount("", "/", "", _MS_REMOUNT | _MS_BIND | _MS_RDONLY)
    hostname = spec["hostname"].encode()
    _checked(_libc.sethostname(hostname, len(hostname)), "sethostname")
    for stream in (1, 2):
        os.fchown(stream, spec["uid"], spec["gid"])  # so that /dev/stdout can be opened by name
    if spec["tty"]:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    _give_up_rights(spec)
    os.chdir(spec["cwd"])
    argv: list[str] = spec["argv"]
    program = shutil.which(argv[0], path=spec["env"].get("PATH", ""))
    if program is None:
        raise ValueError(f'exec: "{argv[0]}": executable file not found in $PATH')
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.write(status, pid.encode())
    os.close(status)
    os.execve(program, argv, spec["env"])


def _enter_new_root(folder: str, mark: str) -> None:
    """Make an empty tmpfs the root; the machine's stays at `_OLD_ROOT` until all is bound from it."""
    _mount(mark, folder, "tmpfs", 0, "mode=0755")
    os.mkdir(folder + _OLD_ROOT)
    number = _SYS_PIVOT_ROOT[os.uname().machine]
    _checked(_libc.syscall(number, folder.encode(), (folder + _OLD_ROOT).encode()), "pivot_root")
    os.chdir("/")


def _fill(rootfs: dict[str, Any]) -> None:
    for path, mode in rootfs["folders"]:
        os.makedirs(path, mode=0o755, exist_ok=True)
        os.chmod(path, mode)
    for path, target in rootfs["links"]:
        _make_parent(path)
        os.symlink(target, path)
    for path, text, mode in rootfs["files"]:
        _make_parent(path)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
    for bind in rootfs["binds"]:
        _bind(_OLD_ROOT + bind["source"], bind["target"], read_only=bind["read_only"])


def _make_parent(path: str) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)


def _bind(source: str, target: str, *, read_only: bool) -> None:
    if os.path.isdir(source):
        os.makedirs(target, mode=0o755, exist_ok=True)
    elif not os.path.exists(target):
        _make_parent(target)
        with open(target, "x"):
            pass
    _mount(source, target, "", _MS_BIND)
    if read_only:
        # A remount must keep the flags that the source's own mount has locked.
        flags = os.statvfs(target).f_flag & (_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
        _mount("", target, "", _MS_REMOUNT | _MS_BIND | _MS_RDONLY | flags)


def _give_up_rights(spec: dict[str, Any]) -> None:
    keep = set(spec["capabilities"])
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        if capability not in keep:
            _checked(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), f"drop of capability {capability}")
    if spec["no_new_privileges"]:
        _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    os.setgroups(spec["groups"])
    os.setresgid(spec["gid"], spec["gid"], spec["gid"])
    os.setresuid(spec["uid"], spec["uid"], spec["uid"])
    # Changing the user has cleared it: die with the process that stands for this container outside.
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "death signal")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode() or None
    )
    _checked(result, f"mount at {target}")


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def main() -> None:
    """Launch; what fails before the program runs is reported on the status pipe."""
    status = int(sys.argv[2])
    try:
        launch(json.loads(Path(sys.argv[1]).read_text()), status)
    except (OSError, ValueError) as error:
        os.write(status, f"error: {error}".encode())
        sys.exit(128)


if __name__ == "__main__":
    main()
