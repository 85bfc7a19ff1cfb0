"""The three processes of a lab cluster: how each is started, known to be ready, and known to be alive."""

import asyncio
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from isthmus.lab.network import inside
from isthmus.lab.plan import ClusterPlan
from isthmus.lib.errors import UserError

API_SERVER, CONTROLLERS, NODE = NAMES = ("apiserver", "controllers", "node")
_LOOK_EVERY = 0.01
_LAST_LINES = 12


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

    async def start(self, *, timeout: float = 60.0) -> None:
        """Start it in its cluster's network namespace and wait until it is ready; it outlives us.

        UserError with its last words where it ends first, or is not ready after `timeout` seconds.
        """
        for file in (self.log_file, self.ready_file):
            file.parent.mkdir(parents=True, exist_ok=True)
        self.ready_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", f"isthmus.lab.{self.name}", str(self.plan.directory)]
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

    def is_alive(self) -> bool:
        """Whether the process that was started runs still (and is no other with its number)."""
        try:
            pid = int(self._pid_file.read_text())
            return str(self.plan.directory).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return False

    def is_ready(self) -> bool:
        """Whether it is alive and has said that it is ready."""
        return self.ready_file.exists() and self.is_alive()

    def __str__(self) -> str:
        return f"{self.name} of cluster {self.plan.name}"
