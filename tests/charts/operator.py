"""Somebody at a shell, with the real helm and kubectl."""

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.lab.helm import MAJOR, find_helm
from isthmus.lib.binaries import find_kubectl

KINDS = (
    "namespaces,serviceaccounts,configmaps,services,endpoints,endpointslices,deployments,secrets,"
    "poddisruptionbudgets,roles,rolebindings,clusterroles,clusterrolebindings"
)


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody at a shell, with helm, kubectl and one cluster."""

    home: Path
    helm: int = MAJOR
    """The major version of the helm."""

    async def types(self, *command: str) -> str:
        """What the command prints; it must succeed."""
        code, out, err = await self.tries(*command)
        assert code == 0, err
        return out

    async def tries(self, *command: str) -> tuple[int, str, str]:
        program = str(find_helm(self.helm) if command[0] == "helm" else find_kubectl())
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "KUBECONFIG": str(self.home / "kubeconfig"),
        }
        process = await asyncio.create_subprocess_exec(
            program,
            *command[1:],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def everything(self) -> set[tuple[str, str, str]]:
        """Every object of the kinds that charts and helm use: its kind, namespace and name."""
        listing = await self.reads("-A", KINDS)
        heads = ((item["kind"], item["metadata"]) for item in listing["items"])
        return {(kind, head.get("namespace", ""), head["name"]) for kind, head in heads}

    async def reads(self, *what: str) -> Any:
        return json.loads(await self.types("kubectl", "get", "-o", "json", "--show-managed-fields", *what))
