"""What an image name selects: a root filesystem, and nothing else.

There is no registry and no unpacking. A root filesystem is a description: the machine's own programs, bound
read-only at their own paths; the Python and the source that run the lab, at theirs; a fresh `/etc`; and the
programs of that image in `/opt/isthmus/bin`. It refuses names that it does not know, as a registry would. To
add an image, add a line to `_PROGRAMS`.
"""

import os
import shutil
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import isthmus
from isthmus.lab.plan import STATE
from isthmus.lib.binaries import find_envoy

PROGRAMS_FOLDER = "/opt/isthmus/bin"
SEARCH_PATH = f"{PROGRAMS_FOLDER}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH of every image."""

_PROGRAMS = {
    "isthmus/pilot": ("isthmus",),
    "isthmus/proxyv2": ("isthmus", "envoy"),
    "isthmus/echo": ("isthmus",),
    "isthmus/client": ("isthmus",),
}
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SYSTEM_ETC = (
    "alternatives", "ca-certificates", "ethertypes", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime",
    "pki", "protocols", "services", "ssl",
)  # fmt: skip
_COPIES = STATE / "python"
_LOOKED_AT = 500
"""Entries of a folder."""
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_USERS = """root:x:0:0:root:/root:/bin/sh
istio-proxy:x:1337:1337:istio-proxy:/home/istio-proxy:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
"""
_GROUPS = "root:x:0:\nistio-proxy:x:1337:\nnogroup:x:65534:\n"
_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"


class ImageUnknownError(LookupError):
    """No image of that name: what a kubelet shows as ErrImagePull. `str(error)` is its message."""


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the machine, seen at `target` in the container."""

    source: str
    target: str
    read_only: bool = True
    lasting: bool = False
    """Whether no volume may cover it."""


@dataclass(frozen=True, slots=True)
class RootFilesystem:
    """What to put into an empty tmpfs, in this order. All paths are absolute, as the container sees them.

    `folders` are (path, mode); parents are made with 0755. `files` are (path, text, mode). `links` are (path,
    target).
    """

    folders: tuple[tuple[str, int], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str, int], ...] = ()
    binds: tuple[Bind, ...] = ()


def find_image(reference: str) -> RootFilesystem:
    """The root filesystem of an image, whatever its tag or digest; ImageUnknownError names the known ones."""
    repository = reference.partition("@")[0]
    folder, _, last = repository.rpartition("/")
    repository = f"{folder}/{last.partition(':')[0]}".removeprefix("docker.io/")
    programs = _PROGRAMS.get(repository)
    if programs is None:
        raise ImageUnknownError(
            f'failed to pull image "{reference}": the lab has no such image;'
            f" it knows {', '.join(_PROGRAMS)}, with any tag"
        )
    system, links = _system()
    python = _python()
    envoy = [Bind(str(find_envoy()), f"{PROGRAMS_FOLDER}/envoy")] if "envoy" in programs else []
    scripts = [
        (f"{PROGRAMS_FOLDER}/isthmus", _isthmus_script(), 0o755),
        (f"{PROGRAMS_FOLDER}/python", f'#!/bin/sh\nexec {sys.executable} "$@"\n', 0o755),
    ]
    return RootFilesystem(
        folders=_FOLDERS,
        links=(*links, *_LINKS),
        files=(*_FILES, *(scripts if "isthmus" in programs else [])),
        binds=(*system, *_etc(), *_devices(), *_uncovered(python, system), *envoy),
    )


_FOLDERS = (
    *((path, 0o755) for path in ("/etc", "/proc", "/run", "/var/lib", "/var/log", "/home", "/mnt", "/opt")),
    *((path, 0o755) for path in ("/dev/pts", "/dev/shm")),
    ("/root", 0o755),  # not 0700: the Python that everybody runs may lie below it
    ("/home/istio-proxy", 0o777),
    *((path, 0o1777) for path in ("/tmp", "/var/tmp", "/run/lock")),
)
_LINKS = (
    ("/var/run", "/run"), ("/var/lock", "/run/lock"), ("/etc/mtab", "/proc/mounts"),
    ("/dev/ptmx", "pts/ptmx"),
    ("/dev/fd", "/proc/self/fd"), ("/dev/stdin", "/proc/self/fd/0"), ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
)  # fmt: skip
_FILES = (
    ("/etc/passwd", _USERS, 0o644), ("/etc/group", _GROUPS, 0o644), ("/etc/nsswitch.conf", _NSSWITCH, 0o644),
)  # fmt: skip


def _system() -> tuple[list[Bind], list[tuple[str, str]]]:
    """Folders of the machine's programs, and the links that stand for them where /usr is merged."""
    links = [(path, os.readlink(path)) for path in _SYSTEM if os.path.islink(path)]
    return [Bind(path, path) for path in _SYSTEM if os.path.isdir(path) and not os.path.islink(path)], links


def _etc() -> list[Bind]:
    paths = (f"/etc/{name}" for name in _SYSTEM_ETC)
    return [Bind(os.path.realpath(path), path) for path in paths if os.path.exists(path)]


def _devices() -> list[Bind]:
    return [Bind(f"/dev/{name}", f"/dev/{name}", read_only=False) for name in _DEVICES]


@cache
def _python() -> list[Bind]:
    """Folders that this Python needs, at the paths by which it names them, such as a checkout in /tmp."""
    source = Path(isthmus.__file__).parent.parent
    hops = [Path(sys.executable)]
    while hops[-1].is_symlink() and len(hops) < 16:
        hops.append(Path(os.path.normpath(hops[-1].parent / os.readlink(hops[-1]))))
    folders = [Path(sys.prefix), Path(sys.base_prefix), source, *(hop.parent for hop in hops)]
    needed = _outermost(Bind(os.path.realpath(folder), str(folder)) for folder in folders)
    return [Bind(str(open_to_all(Path(each.source), _COPIES)), each.target, lasting=True) for each in needed]


def prepare_images() -> None:
    """Do now what would else delay the first container: copy what only root can read."""
    _python()


def open_to_all(folder: Path, copies: Path) -> Path:
    """The folder, or where it was made for its owner only (a strict umask) a copy that everybody can read.

    Containers do not all run as root. The first entries tell: a umask closes all or nothing.
    """
    if all(map(_is_open, islice(chain([folder], folder.rglob("*")), _LOOKED_AT))):
        return folder
    target = copies / folder.relative_to("/")
    if not target.exists():
        copies.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=copies) as unfinished:
            copy = shutil.copytree(folder, Path(unfinished) / "copy", symlinks=True)
            for path in chain([copy], copy.rglob("*")):
                if not path.is_symlink():
                    path.chmod(
                        path.stat().st_mode | (0o055 if path.is_dir() or os.access(path, os.X_OK) else 0o044)
                    )
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():  # another node of this lab may have been quicker
                copy.rename(target)
    return target


def _is_open(path: Path) -> bool:
    mode = path.lstat().st_mode
    wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    return stat.S_ISLNK(mode) or mode & wanted == wanted


def _outermost(binds: Iterable[Bind]) -> list[Bind]:
    found: list[Bind] = []
    for bind in sorted(set(binds), key=lambda bind: len(bind.target)):
        found += _uncovered([bind], found)
    return found


def _uncovered(binds: Iterable[Bind], by: Iterable[Bind]) -> list[Bind]:
    """Those that do not lie in a folder that is there already."""
    folders = [Path(bind.target) for bind in by]
    return [bind for bind in binds if not any(Path(bind.target).is_relative_to(folder) for folder in folders)]


def _isthmus_script() -> str:
    return f"#!{sys.executable}\nimport sys\n\nfrom isthmus.cli.main import main\n\nsys.exit(main())\n"
