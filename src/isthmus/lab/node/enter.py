"""How to run a command in a running container: with its namespaces, user, rights, variables and folder."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from isthmus.lab.node.rights import CAPABILITIES
from isthmus.lab.node.runtime import RunningState
from isthmus.lib.errors import UserError


@dataclass(frozen=True, slots=True)
class Entrance:
    """A command to execute, with exactly these environment variables. Must be run by root."""

    argv: list[str]
    env: dict[str, str]


def state_folder(cluster_dir: Path, namespace: str, pod: str, uid: str) -> Path:
    """Where a pod's running containers are described, one `CONTAINER.json` each."""
    return cluster_dir / "run" / "pods" / f"{namespace}_{pod}_{uid}"


def entrance(
    cluster_dir: Path, namespace: str, pod: str, container: str | None, command: list[str]
) -> Entrance:
    """How to run `command` in a container (None: the pod's first, by the Pod's own order).

    UserError where it does not run.
    """
    folders = sorted((cluster_dir / "run" / "pods").glob(f"{namespace}_{pod}_*"))
    running = {file.stem: file for folder in folders for file in folder.glob("*.json")}
    if not running:
        raise UserError(f"Pod {namespace}/{pod} has no running container in cluster {cluster_dir.name}.")
    if container is None:
        container = _default(folders, running)
    if container not in running:
        names = ", ".join(sorted(running))
        raise UserError(f"Pod {namespace}/{pod} has no running container {container!r}; there are: {names}.")
    state = msgspec.json.decode(running[container].read_bytes(), type=RunningState)
    return enter_command(state, command)


def enter_command(state: RunningState, command: list[str], *, terminal: bool = False) -> Entrance:
    """How to run `command` in the container of that state; with `terminal`, stdin is its terminal."""
    spec = state.spec
    numbers = {number: name for name, number in CAPABILITIES.items()}
    kept = [f"+{numbers[number].lower()}" for number in spec.capabilities if number in numbers]
    groups = [f"--groups={','.join(map(str, spec.groups))}"] if spec.groups else ["--clear-groups"]
    argv = [
        *(
            shutil.which("nsenter") or "nsenter",
            f"--target={state.pid}",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--root",
            "--wd",
        ),
        "--",
        *(["setsid", "--ctty"] if terminal else []),
        *("setpriv", f"--reuid={spec.uid}", f"--regid={spec.gid}", *groups),
        *(f"--bounding-set={','.join(['-all', *kept])}", "--pdeathsig=KILL"),
        *(["--no-new-privs"] if spec.no_new_privileges else []),
        *("--", *command),
    ]
    return Entrance(argv, ({"TERM": "xterm"} if terminal else {}) | spec.env)


def _default(folders: list[Path], running: dict[str, Path]) -> str:
    for folder in folders:
        order = folder / "order"
        if order.exists():
            for name in order.read_text().split():
                if name in running:
                    return name
    return sorted(running)[0]
