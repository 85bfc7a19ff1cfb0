"""The operator's own helm: which one it is. It is run by path, and asked nothing of any cluster."""

import asyncio
import os
import shutil

from isthmus.operate.preflight.facts import Helm

_PATIENCE = 20.0
_WAYS = (("version", "--client", "--short"), ("version", "--short"))
"""Helm 2 would ask Tiller without `--client`, which Helm 4 does not know."""


def find_helm() -> str | None:
    """helm's path: `HELM_PATH`, else on PATH; None where there is none."""
    return os.environ.get("HELM_PATH") or shutil.which("helm")


async def read_helm(program: str | None) -> Helm:
    """Its version."""
    if program is None:
        return Helm(trouble="it is not on PATH")
    trouble = "it does not say its version"
    for arguments in _WAYS:
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            return Helm(trouble=f"{program} cannot be run: {error.strerror}")
        try:
            async with asyncio.timeout(_PATIENCE):
                output, _ = await process.communicate()
        except TimeoutError:
            trouble = f"it did not end within {_PATIENCE:g} s"
            continue
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == 0:
            return Helm(version=output.decode(errors="replace").removeprefix("Client:").strip())
    return Helm(trouble=trouble)
