"""What an operator types, against two clusters' API servers on loopback."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
import yaml
from typer.testing import CliRunner

from isthmus.cli.cluster import app as cluster_app
from isthmus.lab.apiserver.server import RunningServer
from isthmus.lib.errors import UserError
from tests.scenarios.mesh import Mesh, two_clusters


def merge_kubeconfigs(path: Path, *contexts: bytes) -> Path:
    """One kubeconfig of several; the first one's context is the current one."""
    parts = [yaml.safe_load(each) for each in contexts]
    whole = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": parts[0]["current-context"],
        **{
            listing: [entry for part in parts for entry in part[listing]]
            for listing in ("clusters", "users", "contexts")
        },
    }
    path.write_text(yaml.safe_dump(whole))
    return path


@dataclass(frozen=True, slots=True)
class Desk:
    """The clusters west (the control plane's) and east, and a kubeconfig with both as contexts."""

    mesh: Mesh
    kubeconfig: Path

    @property
    def east(self) -> RunningServer:
        return self.mesh.east.server

    async def type(self, *words: str, app: typer.Typer = cluster_app, stdin: str = "") -> str:
        """What the command prints; raises what it raises."""
        arguments = [*words, "--kubeconfig", str(self.kubeconfig)]
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, stdin)
        if isinstance(result.exception, SystemExit):
            raise UserError(result.output, exit_code=result.exit_code)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    async def add(self, name: str = "east", *words: str) -> dict[str, Any]:
        """`cluster add` of east, reachable by its loopback address as an exception."""
        fixed = ("add", name, "--context", "east", "--server", self.east.url, "-o", "json")
        return json.loads(await self.type(*fixed, *words))

    async def refused(self, *words: str, app: typer.Typer = cluster_app) -> str:
        """The sentence that a command ends with."""
        try:
            printed = await self.type(*words, app=app)
        except UserError as error:
            return str(error)
        raise AssertionError(f"it did not fail, and printed {printed!r}")


@asynccontextmanager
async def at_desk(folder: Path) -> AsyncGenerator[Desk]:
    async with two_clusters() as mesh:
        west, east = mesh.west.server, mesh.east.server
        kubeconfig = merge_kubeconfigs(
            folder / "kubeconfig", west.kubeconfig("west"), east.kubeconfig("east")
        )
        yield Desk(mesh, kubeconfig)
