"""`docs/guide.md` as something that can be run: its blocks of commands, and a shell that they are typed into.

A block begins with ```` ```sh WHERE… ````: the clusters at which kubectl and helm are pointed, one after the
other. Blocks of `text` are only read.
"""

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from isthmus.lab.helm import find_helm
from isthmus.lab.plan import STATE
from isthmus.lib.binaries import find_kubectl

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/guide.md"
_FENCE = re.compile(r"^( *)```(.*)\n(?s:(.*?))^\1```$", re.MULTILINE)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_END = "-- the block ended well --"
_LARGEST_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Block:
    """Commands, the heading above them, and where they are typed."""

    heading: str
    places: tuple[str, ...]
    commands: str


def read_blocks(text: str) -> list[Block]:
    """The blocks that are run, in order. ValueError for one that is neither run nor `text`."""
    blocks: list[Block] = []
    headings = [(found.start(), found[1]) for found in _HEADING.finditer(_FENCE.sub(_blank, text))]
    for found in _FENCE.finditer(text):
        language, *places = found[2].split()
        if language == "sh" and places:
            above = [heading for start, heading in headings if start < found.start()]
            blocks.append(Block(above[-1], tuple(places), found[3]))
        elif language != "text":
            raise ValueError(f"a block of {found[2]!r} is neither run nor text")
    return blocks


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])


class Shell:
    """One bash for the whole page, which stops at the first command that fails."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def type(self, commands: str, cluster: str) -> str:
        """What the commands print; AssertionError, with that, where one of them fails."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        kubeconfig = STATE / cluster / "kubeconfig"
        stdin.write(f"export KUBECONFIG={kubeconfig}\n{commands}\necho '{_END}'\n".encode())
        printed = ""
        while line := (await stdout.readline()).decode():
            if line.rstrip() == _END:
                return printed
            printed += line
        raise AssertionError(f"{cluster}$ {commands}\n{printed}")


@asynccontextmanager
async def running_shell(home: Path, helm: int) -> AsyncGenerator[Shell]:
    """A shell in the root of the checkout whose $HOME is that folder and whose PATH has the real programs.

    `helm` is the major version of its helm.
    """
    programs = home / "bin"
    programs.mkdir()
    (programs / "helm").symlink_to(find_helm(helm))
    (programs / "kubectl").symlink_to(find_kubectl())
    (programs / "isthmus").write_text(f'#!/bin/sh\nexec {sys.executable} -m isthmus.cli.main "$@"\n')
    (programs / "isthmus").chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euo",
        "pipefail",
        cwd=ROOT,
        env={"HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=_LARGEST_LINE,
    )
    try:
        yield Shell(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
