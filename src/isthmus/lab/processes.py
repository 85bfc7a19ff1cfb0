"""The three processes of a lab cluster: how each is started, known to be ready, and known to be alive."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus.lab.network import inside
from isthmus.lab.plan import ClusterPlan
from isthmus.lib.errors import UserError

API_SERVER, CONTROLLERS, NODE = NAMES = ("apiserver", "controllers", "node")
_LOOK_EVERY = 0.01
_LAST_LINES = 12
_READY_WITHIN = 150.0
"""Seconds for a process to be ready; real API servers say themselves, before that, what they lack."""
_GRACE = 5.0
"""Seconds for a process that is asked to end; then it is made to."""


@dataclass(frozen=True, slots=True)
class LabProcess:
    """One process of one cluster. It writes `logs/NAME.log` and, when it is ready, `run/NAME.ready`."""

    plan: ClusterPlan
    name: str

    @property
    def log_file(self) -> Path:
        """Its standard output and error."""
        return self.plan.directory / "logs" / f"{self.name}.log"

    @property
    def ready_file(self) -> Path:
        """Exists once it is ready."""
        return self.plan.directory / "run" / f"{self.name}.ready"

    @property
    def _pid_file(self) -> Path:
        return self.plan.directory / "run" / f"{self.name}.pid"

    async def start(self, *, timeout: float = _READY_WITHIN, through: Sequence[str] = ()) -> None:
        """Start it in its cluster's network namespace and wait until it is ready; it outlives us.

        `through` is a module, with its first arguments, that runs another as it is told.
        UserError with its last words where it ends first, or is not ready after `timeout` seconds.
        """
        for file in (self.log_file, self.ready_file):
            file.parent.mkdir(parents=True, exist_ok=True)
        self.ready_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", *through, f"isthmus.lab.{self.name}", str(self.plan.directory)]
        with self.log_file.open("ab") as log:
            child = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond, and must not be awaited to its end
                inside(self.plan.netns, command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        self._pid_file.write_text(str(child.pid))
        try:
            async with asyncio.timeout(timeout):
                while not self.ready_file.exists():
                    if child.poll() is not None:
                        raise UserError(
                            f"{self} ended with exit code {child.returncode}.{self._last_words()}"
                        )
                    await asyncio.sleep(_LOOK_EVERY)
        except TimeoutError:
            text = f"{self} was not ready after {timeout:.0f} seconds.{self._last_words()}"
            raise UserError(text) from None

    def _last_words(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return "".join(f"\n  {line}" for line in (["Its last words:", *lines] if lines else []))

    def _running(self) -> tuple[int, list[str]] | None:
        """Its process id and command line; None where the process that was started runs no more."""
        try:
            pid = int(self._pid_file.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        except (OSError, ValueError):
            return None
        return (pid, words) if str(self.plan.directory) in words else None

    def is_alive(self) -> bool:
        """Whether the process that was started runs still (and is no other with its number)."""
        return self._running() is not None

    def is_run_through(self, module: str) -> bool:
        """Whether it runs, and was started through that module."""
        running = self._running()
        return running is not None and module in running[1]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to all that it started; nothing where it does not run."""
        running = self._running()
        if running is not None:
            os.killpg(running[0], number)

    async def stop(self) -> None:
        """End it and all that it started, in good order if it does so soon; nothing where it does not run."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(_GRACE):
                while self.is_alive():  # noqa: ASYNC110 - another's child can only be looked at
                    await asyncio.sleep(_LOOK_EVERY)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            while self.is_alive():  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_EVERY)

    def is_ready(self) -> bool:
        """Whether it is alive and has said that it is ready."""
        return self.ready_file.exists() and self.is_alive()

    def __str__(self) -> str:
        return f"{self.name} of cluster {self.plan.name}"
