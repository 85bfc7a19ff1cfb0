"""Files of a volume that change as one, as a kubelet writes them (its AtomicWriter).

All files are written to a fresh folder; a link to it is then replaced. A reader sees the old files or the new
ones, never some of each.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_DATA = "..data"


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """One file's content and mode."""

    content: bytes
    mode: int


def write_volume(folder: Path, files: Mapping[str, VolumeFile], group: int | None) -> bool:
    """Make the volume hold exactly these files, by relative path; whether anything changed.

    `group` owns them and may read them, if given. ValueError for a path that leads out of the volume.
    """
    for path in files:
        if path.startswith("/") or any(part in ("", "..") for part in path.split("/")):
            raise ValueError(f"{path!r} is no path within a volume")
    current = folder / _DATA
    if _read(current) == {path: file.content for path, file in files.items()} and current.exists():
        return False
    number = 1 + max((int(entry.name[2:]) for entry in folder.glob("..[0-9]*")), default=0)
    fresh = folder / f"..{number}"
    for path, file in files.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        target.write_bytes(file.content)
        target.chmod(file.mode | (0o040 if group is not None else 0))
        if group is not None:
            os.chown(target, -1, group)
    fresh.mkdir(exist_ok=True)
    old = folder / os.readlink(current) if current.is_symlink() else None
    unfinished = folder / "..unfinished"
    unfinished.symlink_to(fresh.name)
    unfinished.replace(current)
    _link_names(folder, {path.split("/")[0] for path in files})
    if old is not None:
        shutil.rmtree(old)
    return True


def _read(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def _link_names(folder: Path, names: set[str]) -> None:
    present = {entry.name for entry in folder.iterdir() if not entry.name.startswith("..")}
    for name in present - names:
        (folder / name).unlink()
    for name in names - present:
        (folder / name).symlink_to(f"{_DATA}/{name}")
