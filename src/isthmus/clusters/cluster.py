"""One cluster's life: the client in force and, during a rotation, the one that is to follow it.

Make before break: a new credential's client reads everything before the old one is let go, and one that
does not get that far, or that leads to another cluster, leaves the old one as it is. It never gives up, and
waits for no other cluster.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import NoReturn, cast

import structlog

from isthmus.clusters.annotations import IDENTITY
from isthmus.clusters.api import Api, Connect
from isthmus.clusters.health import Health, State
from isthmus.clusters.intake import Intake
from isthmus.clusters.session import KindGone, Session
from isthmus.kube.access import Access
from isthmus.lib.backoff import Backoff
from isthmus.lib.errors import UserError
from isthmus.lib.lifecycle import TaskScope
from isthmus.model.service import ClusterId

_log = structlog.stdlib.get_logger(__name__)


class _Trial:
    """One credential and the task that owns all watches made with it."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.session: Session | None = None
        self.api: Api | None = None
        self.task: asyncio.Task[NoReturn] | None = None

    def end(self) -> None:
        if self.task is not None:
            self.task.cancel()


class Cluster:
    """A cluster of the mesh; its tasks run in `scope`.

    `intake` makes an empty store's intake. `completed` is called with each session that has read everything,
    from when on it is the one in force, `moved` whenever the state is another, `reworded` whenever only its
    reason is.
    """

    def __init__(
        self,
        name: ClusterId,
        scope: TaskScope,
        *,
        connect: Connect,
        intake: Callable[[], Intake],
        completed: Callable[[Session], None],
        moved: Callable[[], None],
        reworded: Callable[[], None],
    ) -> None:
        self.name = name
        self._scope = scope
        self._connect = connect
        self._intake = intake
        self._completed = completed
        self._moved = moved
        self._reworded = reworded
        self._meant = ""
        self._is_bound = True
        self._current: Session | None = None
        self._in_force: _Trial | None = None
        self._next: _Trial | None = None
        self._answered = asyncio.Event()
        self._last = Health(State.SYNCING, time.time())
        self.rotations = 0
        """How often a new credential has come into force."""
        self.last_error = ""
        """The latest trouble in words, also once it is over."""

    def offer(self, access: Access, meant: str = "", *, anew: bool = False) -> None:
        """Reach the cluster by this access from now on; one that is in use already changes nothing.

        `meant` says which one it must be, by the UID of `kube-system`; "" where nobody has said: then it
        stays the one that it is, unless it is registered `anew`.
        """
        self._meant = meant
        if self._next is not None and self._next.access == access:
            self._is_bound = self._is_bound and not anew
            if self._next.session is not None:
                self._progressed(self._next, self._next.session)  # which may have been refused until now
            return
        if self._next is not None:
            self._next.end()
            self._next = None
        is_in_use = self._in_force is not None and self._in_force.access == access
        self._is_bound = is_in_use or not anew
        if is_in_use:
            return  # the credential that works, or that never ceased to
        self._next = _Trial(access)
        self._next.task = self._scope.spawn(self._follow(self._next), name=f"cluster {self.name}")

    def end(self) -> None:
        """Let go of it: nothing of it is called any more."""
        for trial in (self._in_force, self._next):
            if trial is not None:
                trial.end()
        self._in_force = self._next = None
        _log.info("cluster state", cluster=self.name, state=State.REMOVED.value)

    @property
    def access(self) -> Access | None:
        """The credential in force or else the one that is being tried; None once it has ended."""
        trial = self._in_force or self._next
        return None if trial is None else trial.access

    @property
    def in_force(self) -> Access | None:
        """The credential in force; None before there is one, and while another is being tried."""
        return None if self._in_force is None or self._next is not None else self._in_force.access

    @property
    def api(self) -> Api | None:
        """The API server by that credential; None while no client of it is open."""
        trial = self._in_force or self._next
        return None if trial is None else trial.api

    @property
    def session(self) -> Session | None:
        """The session in force, else the one that tries to be; None where there is neither yet."""
        return self._current or (self._next and self._next.session)

    @property
    def complete(self) -> bool:
        """Whether it was read as a whole, and is the cluster that it must be."""
        return self._current is not None

    @property
    def health(self) -> Health:
        """How the cluster is, by that session; refused where that leads to another than was meant."""
        if self.session is None:
            return self._last
        health = self.session.health
        if self._current is None and self.session.complete and self._is_other_cluster(self.session):
            return Health(State.REFUSED, health.since, self._other_cluster(self.session))
        return health

    @property
    def rotation(self) -> str:
        """What keeps the newest credential from coming into force while an older one is; else ""."""
        if self._in_force is None or self._next is None:
            return ""
        session = self._next.session
        if session is not None and session.complete:
            reason = self._other_cluster(session)
        else:
            reason = (session and session.health.reason) or "still reading"
        return f"a new credential is being tried, the old one stays in use: {reason}"

    async def answered(self) -> None:
        """Wait until the cluster was once read as a whole, or could not be."""
        await self._answered.wait()

    async def _follow(self, trial: _Trial) -> NoReturn:
        """Keep a session of this credential running: where a fault of our own ends one, another follows."""
        structlog.contextvars.bind_contextvars(cluster=self.name)
        backoff = Backoff()
        while True:
            session = trial.session = Session(self._intake(), partial(self._progressed, trial))
            try:
                async with self._connect(trial.access) as api:
                    trial.api = api
                    await session.serve(api)
            except Exception as error:  # noqa: BLE001 - one cluster's fault must not become the others'
                first = _first(error)
                if isinstance(first, KindGone):
                    _log.info("cluster is read anew", cluster=self.name, reason=str(first))
                    session.crashed(str(first))
                elif isinstance(first, UserError):
                    _log.warning("cluster cannot be reached as told", cluster=self.name, reason=str(first))
                    session.crashed(str(first))
                else:
                    _log.exception("cluster session failed", cluster=self.name)
                    session.crashed(f"{type(first).__name__}: {first}")
            finally:
                trial.api = None
            await asyncio.sleep(backoff.next_delay())

    def _progressed(self, trial: _Trial, session: Session) -> None:
        """A watch of that session has reported."""
        if session is not trial.session or trial not in (self._in_force, self._next):
            return
        if session.complete and session is not self._current and not self._is_other_cluster(session):
            self._take_over(trial, session)
        health = self.health
        if health.state is not State.SYNCING:
            self._answered.set()
        if health.state is not self._last.state:
            log = _log.info if health.state is State.FRESH else _log.warning
            log("cluster state", cluster=self.name, state=health.state.value, reason=health.reason)
        before, self._last = self._last, health
        self.last_error = health.reason or self.last_error
        if health.state is not before.state:
            self._moved()
        elif health.reason != before.reason:
            self._reworded()

    def _is_other_cluster(self, session: Session) -> bool:
        """Whether it read a cluster that is certainly not the one that it must be (UID of `kube-system`)."""
        known, found = self._known_identity, session.store.identity
        return bool(known and found and known != found)

    @property
    def _known_identity(self) -> str:
        """That of the cluster which is meant, or else of the one in force; "" where any will do."""
        if self._meant or self._current is None or not self._is_bound:
            return self._meant
        return self._current.store.identity

    def _other_cluster(self, session: Session) -> str:
        found = session.store.identity
        return (
            f"it leads to another cluster (kube-system has the UID {found}, not {self._known_identity}); if "
            f"that is meant, run `isthmus cluster add {self.name} --allow-different-cluster`, or annotate "
            f"its Secret: {IDENTITY}={found}; a Secret of several clusters is to be made anew"
        )

    def _take_over(self, trial: _Trial, session: Session) -> None:
        """This session is in force from now on; what went before is let go only now."""
        if trial is self._next:
            if self._in_force is not None:
                self._in_force.end()
                self.rotations += 1
                _log.info("cluster credential rotated", cluster=self.name)
            self._in_force, self._next = trial, None
        self._current, self._is_bound = session, True
        self._completed(session)


def _first(error: BaseException) -> BaseException:
    """One error to name in a clause, where several watches failed together."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
