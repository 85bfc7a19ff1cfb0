"""The real Kubernetes programs that KUBEBUILDER_ASSETS names, if they are there and go together.

A folder that will not do is refused before anything is started, with the file that is at fault.
"""

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from isthmus.lib.errors import UserError

VARIABLE = "KUBEBUILDER_ASSETS"
ETCD, API_SERVER, CONTROLLER_MANAGER = "etcd", "kube-apiserver", "kube-controller-manager"
OLDEST = {ETCD: (3, 5), API_SERVER: (1, 34)}
"""The oldest versions that are taken: the supported releases of Kubernetes, and the etcd that they need."""
_SAYS_WITHIN = 20.0
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.\d+")
_WAY_FORWARD = (
    f"Put etcd, kube-apiserver and kube-controller-manager of one release there, or unset {VARIABLE}."
)


@dataclass(frozen=True, slots=True)
class Assets:
    """The folder; `has_controller_manager` is False for envtest's, which has none."""

    folder: Path
    has_controller_manager: bool

    def program(self, name: str) -> str:
        """The path of one of the programs."""
        return str(self.folder / name)


def find_assets(environment: Mapping[str, str] = os.environ) -> Assets | None:
    """What KUBEBUILDER_ASSETS names, None where it is not set. UserError: a program is missing."""
    named = environment.get(VARIABLE)
    if not named:
        return None
    folder = Path(named).absolute()
    faults = [fault for name in (ETCD, API_SERVER) if (fault := _fault(folder / name))]
    if not faults and (folder / CONTROLLER_MANAGER).exists():
        faults = [fault for fault in [_fault(folder / CONTROLLER_MANAGER)] if fault]
    if faults:
        raise UserError(f"{VARIABLE} is {named}, where {', and '.join(faults)}. {_WAY_FORWARD}")
    return Assets(folder, (folder / CONTROLLER_MANAGER).exists())


def _fault(program: Path) -> str:
    if not program.exists():
        return f"{program.name} is missing"
    if not program.is_file() or not os.access(program, os.X_OK):
        return f"{program.name} is no program that may be run (see `ls -l {program}`)"
    return ""


async def check_versions(assets: Assets) -> None:
    """UserError where a program does not run at all, or is of a version that does not go with the others.

    kube-controller-manager may be one minor version older than kube-apiserver, and never newer (Kubernetes
    "Version Skew Policy").
    """
    names = [ETCD, API_SERVER, *([CONTROLLER_MANAGER] if assets.has_controller_manager else [])]
    found = {name: await _version(assets.program(name)) for name in names}
    for name, oldest in OLDEST.items():
        if found[name] < oldest:
            text = f"{assets.program(name)} is of version {_shown(found[name])}, older than {_shown(oldest)}"
            raise UserError(f"{text}. {_WAY_FORWARD}")
    server, manager = found[API_SERVER], found.get(CONTROLLER_MANAGER)
    if manager is not None and not (server[0], server[1] - 1) <= manager <= server:
        text = f"{assets.program(CONTROLLER_MANAGER)} is of version {_shown(manager)}"
        raise UserError(f"{text}, which does not go with kube-apiserver {_shown(server)}. {_WAY_FORWARD}")


def _shown(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


async def _version(program: str) -> tuple[int, int]:
    """What `PROGRAM --version` says first that looks like a version."""
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "--version",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        text = f"{program} cannot be run on this machine: {error.strerror or error}"
        raise UserError(f"{text}. {_WAY_FORWARD}") from None
    try:
        async with asyncio.timeout(_SAYS_WITHIN):
            said = (await process.communicate())[0].decode(errors="replace").strip()
    except TimeoutError:
        text = f"`{program} --version` did not end within {_SAYS_WITHIN:.0f} seconds"
        raise UserError(f"{text}. {_WAY_FORWARD}") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    version = _VERSION.search(said)
    if process.returncode != 0 or version is None:
        text = f"`{program} --version` ended with exit code {process.returncode} and says no version"
        raise UserError(f"{text}: {said[-400:] or 'nothing'}. {_WAY_FORWARD}")
    return int(version[1]), int(version[2])
