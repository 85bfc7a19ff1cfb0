"""What the node knows of a pod's containers while it runs them: each record is owned by its pod's tasks."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from isthmus.lab.node.podspec import Container


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not running; `reason` is a kubelet's word, such as ContainerCreating or CrashLoopBackOff."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """Running since then."""

    started: datetime


@dataclass(frozen=True, slots=True)
class Terminated:
    """Has run, or could not be started; `signal` is 0 unless one ended it."""

    exit_code: int
    started: datetime
    finished: datetime
    reason: str
    container_id: str
    signal: int = 0
    message: str = ""


State: TypeAlias = Waiting | Running | Terminated


@dataclass(slots=True)
class ContainerRecord:
    """One container of a pod: its present and last state, as its status will tell it."""

    container: Container
    state: State
    last: Terminated | None = None
    restarts: int = 0
    container_id: str = ""
    started: bool = False
    """Its start-up probe has passed."""
    ready: bool = False
    """Its readiness probe passes, now."""

    @property
    def succeeded(self) -> bool:
        """Has ended with exit code 0."""
        return isinstance(self.state, Terminated) and self.state.exit_code == 0
