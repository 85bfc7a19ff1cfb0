"""Keeps the control plane's addresses right in every joined cluster: whose turn it is, and when again.

Every replica does it. All write the same, and only what a fresh read of the own cluster confirms: a replica
that has lost its own API server undoes nobody's work. A cluster that does not answer keeps nobody waiting.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import uniform
from typing import NoReturn

import structlog

from isthmus.clusters.addressing import Addresses, read_own_addresses, write_addresses
from isthmus.clusters.annotations import HEAL
from isthmus.clusters.api import Api
from isthmus.clusters.healing import SERVICES, ready_addresses
from isthmus.clusters.health import State
from isthmus.clusters.members import Member
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.lib.backoff import Backoff
from isthmus.lib.lifecycle import TaskScope, task_scope
from isthmus.model.service import ClusterId, ServiceKey
from isthmus.model.view import Changes

_GATHER = (0.1, 0.4)
"""Seconds in which several changes become one round; drawn anew, so that replicas do not meet."""
_WITHOUT_RIGHTS = (240.0, 360.0)
"""Seconds until a cluster that refused is asked again."""
_PATIENCE = 4
"""How often in a row somebody else may undo what was written before it is called a quarrel."""
_FORGET = 600.0
"""Seconds after which such a thing is past."""
_OFF = f"annotate its Secret with {HEAL}=false"

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Case:
    """All that the healing of one cluster depends on: while it is the same, what was done holds."""

    api: Api
    own: Mapping[str, frozenset[str]]
    there: Mapping[str, tuple[object, ...]]


@dataclass(slots=True)
class _Course:
    """How the healing of one cluster goes. `undone`: how often somebody else has changed back our writes."""

    done: _Case | None = None
    busy: bool = False
    rests_until: float = 0.0
    trouble: str = ""
    written: Addresses = field(default_factory=dict[str, list[str]])
    undone: int = 0
    undone_at: float = 0.0
    undoers: set[str] = field(default_factory=set[str])
    backoff: Backoff = field(default_factory=lambda: Backoff(initial=1.0, cap=60.0))

    def quarrel(self, now: float) -> str:
        """Who keeps changing the addresses back, in words, "" for nobody."""
        if self.undone <= _PATIENCE or now - self.undone_at > _FORGET:
            return ""
        who = " and ".join(sorted(self.undoers))
        return (
            f"the control plane's addresses there are changed back by {who} whenever they are healed; "
            f"let one of the two write them: {_OFF}, or take the Endpoints out of what {who} applies"
        )


class Healing:
    """Heals all `members` but the own cluster, through `clients`. `enabled` is the mesh config's word."""

    def __init__(
        self,
        own: ClusterId,
        namespace: str,
        members: Mapping[ClusterId, Member],
        clients: Mapping[ClusterId, Api],
        *,
        enabled: bool,
    ) -> None:
        self._own = own
        self._namespace = namespace
        self._keys = {ServiceKey(namespace, name): name for name in SERVICES}
        self._members = members
        self._clients = clients
        self._enabled = enabled
        self._woken = asyncio.Event()
        self._courses: dict[ClusterId, _Course] = {}
        self._home_rests_until = 0.0

    def wake(self) -> None:
        """A cluster's state, client or Secret is another."""
        self._woken.set()

    def changed(self, changes: Changes) -> None:
        """The joined view is another."""
        if not self._keys.keys().isdisjoint(changes.endpoints | changes.services):
            self._woken.set()

    def remarks(self, name: ClusterId, member: Member) -> tuple[str, ...]:
        """What keeps the addresses of a cluster from being healed, in words."""
        said, course = [self._wish(member)[1]], self._courses.get(name)
        if course is not None:
            said += [course.trouble, course.quarrel(asyncio.get_running_loop().time())]
        return tuple(filter(None, said))

    async def serve(self) -> NoReturn:
        """Heal, for ever."""
        due: float | None = None
        async with task_scope() as scope:
            while True:
                try:
                    async with asyncio.timeout_at(due):
                        await self._woken.wait()
                except TimeoutError:
                    pass
                await asyncio.sleep(uniform(*_GATHER))
                self._woken.clear()
                cases, due = self._look()
                if cases:
                    await self._begin(scope, cases)
                    due = self._look()[1]

    def _look(self) -> tuple[dict[ClusterId, _Case], float | None]:
        """The clusters to be healed now, and when there will be more by themselves (the loop's time)."""
        now = asyncio.get_running_loop().time()
        cases: dict[ClusterId, _Case] = {}
        dues: list[float] = []
        for gone in self._courses.keys() - self._members.keys():
            del self._courses[gone]
        for name, member in self._members.items():
            course, case = self._courses.get(name), self._case(name, member)
            if course is not None and (course.busy or course.done == case):
                continue
            if case is None:
                self._courses.pop(name, None)  # once it can be healed again, it is looked at anew
                continue
            course = self._courses.setdefault(name, _Course())
            at = max(course.rests_until, self._home_rests_until)
            if at > now:
                dues.append(at)
            else:
                cases[name] = case
        return cases, min(dues, default=None)

    def _case(self, name: ClusterId, member: Member) -> _Case | None:
        """None for a cluster that is not to be healed, or cannot be now."""
        if member.claim is None or not self._wish(member)[0]:
            return None
        home, there, api = self._members[self._own].store, member.store, self._clients.get(name)
        if home is None or there is None or api is None or member.health.state is not State.FRESH:
            return None
        return _Case(
            api,
            {name: ready_addresses(home.slices_of(key)) for key, name in self._keys.items()},
            {name: (there.services.get(key), *there.slices_of(key)) for key, name in self._keys.items()},
        )

    def _wish(self, member: Member) -> tuple[bool, str]:
        """Whether a cluster is to be healed, and what is wrong with its own wish, "" for nothing."""
        text = None if member.claim is None else member.claim.annotations.get(HEAL)
        if text in (None, "true", "false"):
            return self._enabled if text is None else text == "true", ""
        flaw = f"{HEAL} is {str(text)[:40]!r}, not true or false"
        return self._enabled, f"annotation without effect: {flaw}"

    async def _begin(self, scope: TaskScope, cases: Mapping[ClusterId, _Case]) -> None:
        """Start healing these clusters, if our own can say what is right."""
        try:
            api = self._clients.get(self._own)
            if api is None:
                raise Unreachable("its client is being made anew")
            addresses = await read_own_addresses(api, self._namespace)
        except (ApiError, Unreachable) as error:
            _log.info("own addresses cannot be read, so none are healed", reason=str(error))
            self._home_rests_until = asyncio.get_running_loop().time() + uniform(2, 4)
            return
        for name, case in cases.items():
            course = self._courses[name]
            course.busy = True
            scope.spawn(self._heal(name, course, case, addresses), name=f"healing {name}")

    async def _heal(self, name: ClusterId, course: _Course, case: _Case, addresses: Addresses) -> None:
        """Bring one cluster up to date, or rest and say why."""
        before, undoers, wrote = course.trouble, set[str](), False
        try:
            for service in SERVICES:
                if not addresses[service]:
                    continue  # perhaps only for a moment: what stands there is better than nothing
                found = await write_addresses(
                    case.api, self._namespace, service, addresses[service], self._own
                )
                if found is not None:
                    wrote = True
                    _log.info("endpoints healed", cluster=name, service=service, addresses=addresses[service])
                    if course.written.get(service) == addresses[service]:
                        undoers.add(found or "somebody")
            course.done = None if wrote else case  # what was written is looked at once more
            self._succeeded(name, course, addresses, undoers)
        except (ApiError, Unreachable) as error:
            self._failed(course, error)
        except Exception as error:  # noqa: BLE001 - one cluster's fault must not become the others'
            if not before:
                _log.exception("healing failed", cluster=name)
            self._failed(course, Unreachable(f"its objects make no sense ({type(error).__name__})"))
        if course.trouble not in ("", before):
            _log.warning("endpoints not healed", cluster=name, reason=course.trouble)
        course.busy = False
        self.wake()

    def _succeeded(self, name: ClusterId, course: _Course, addresses: Addresses, undoers: set[str]) -> None:
        now = asyncio.get_running_loop().time()
        if course.written != addresses or now - course.undone_at > _FORGET:
            course.undone = 0
        course.written, course.trouble = addresses, ""
        if undoers:
            course.undone, course.undone_at, course.undoers = course.undone + 1, now, undoers
        if course.undone <= _PATIENCE:
            course.backoff.reset()
        elif undoers:
            course.rests_until = now + course.backoff.next_delay()
            if course.undone == _PATIENCE + 1:
                _log.warning("endpoints changed back", cluster=name, reason=course.quarrel(now))

    def _failed(self, course: _Course, error: ApiError | Unreachable) -> None:
        pause = course.backoff.next_delay()
        if isinstance(error, ApiError) and error.status == 403:
            pause = uniform(*_WITHOUT_RIGHTS)
            course.trouble = (
                f"the control plane's addresses there are not kept: {error}; grant its reader tier heal "
                f"(`isthmus cluster add` again, or the chart's rights.heal), or {_OFF}"
            )
        elif not isinstance(error, ApiError) or error.status != 409:
            course.trouble = f"the control plane's addresses there cannot be kept now: {error}"
        course.rests_until = asyncio.get_running_loop().time() + pause
