"""What an operator must know of a PeerAuthentication, in its status: the condition PassedAnalysis, as Istio
spells it (config-status; istiod writes it with PILOT_ENABLE_ANALYSIS).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from isthmus.config.accepted_tls import PeerAuthentications
from isthmus.config.errors import ConfigRefused
from isthmus.config.peer_authentication import PeerAuthentication
from isthmus.config.store import ConfigKind, ConfigStore
from isthmus.kube.decoding import Ref

CONDITION = "PassedAnalysis"


class PeerStatus:
    """A `watching.Taker` in front of the store: after each change it says of every object of that namespace
    what there is to say, for one object decides whether another has an effect.

    `want` is given what is to be merged into an object's status, where that says something else.
    """

    def __init__(
        self,
        store: ConfigStore[PeerAuthentication],
        peers: PeerAuthentications,
        want: Callable[[Ref, Mapping[str, Any]], None],
        forget: Callable[[Ref], None],
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._peers = peers
        self._want = want
        self._forget = forget
        self._wall = wall
        self._latest: dict[str, dict[str, Mapping[str, Any]]] = {}
        """By namespace and name, as the API server has them."""

    @property
    def kind(self) -> ConfigKind[PeerAuthentication]:
        """The store's."""
        return self._store.kind

    def apply(self, ref: Ref, found: Mapping[str, Any]) -> ConfigRefused | None:
        """See `Taker`."""
        refusal = self._store.apply(ref, found)
        self._latest.setdefault(ref.namespace, {})[ref.name] = found
        self._look(ref.namespace)
        return refusal

    def remove(self, ref: Ref) -> None:
        """See `Taker`."""
        self._store.remove(ref)
        objects = self._latest.get(ref.namespace, {})
        objects.pop(ref.name, None)
        if not objects:
            self._latest.pop(ref.namespace, None)
        self._forget(ref)
        self._look(ref.namespace)

    def _look(self, namespace: str) -> None:
        idle = self._peers.idle(namespace)
        for name, found in self._latest.get(namespace, {}).items():
            ref = Ref(namespace, name)
            problem, refusal = idle.get(ref, ""), self._store.rejected.get(ref)
            if refusal is not None:
                stays = self._store.get(ref) is not None
                rest = "the version before it stays in force" if stays else "it is not in force"
                problem = f"{refusal.field}: {refusal.reason}; {rest}"
            status = analysed(found, problem, self._wall())
            if status is None:
                self._forget(ref)
            else:
                self._want(ref, status)


def analysed(found: Mapping[str, Any], problem: str, now: float) -> dict[str, Any] | None:
    """What is to be merged into an object's status so that its condition says that; None where it does.

    Others' conditions stay. `problem` is "" for none; `now` is in Unix seconds.
    """
    before = _conditions(found)
    nothing: Mapping[str, Any] = {}
    former = next((one for one in before if one.get("type") == CONDITION), nothing)
    generation = found["metadata"].get("generation", 0)
    said = {
        "type": CONDITION,
        "status": "False" if problem else "True",
        "reason": "errorsFound" if problem else "noErrorsFound",
        "message": problem,
        "observedGeneration": generation,
    }
    if all(former.get(key) == value for key, value in said.items()):
        return None
    since = former.get("lastTransitionTime")
    if former.get("status") != said["status"] or not since:
        since = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    others = [one for one in before if one.get("type") != CONDITION]
    return {
        "observedGeneration": generation,
        "conditions": [*others, {**said, "lastTransitionTime": since}],
    }


class _Status(msgspec.Struct):
    conditions: list[dict[str, Any]] = []


def _conditions(found: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Somebody else's status may be of any shape: then it is written anew."""
    try:
        return msgspec.convert(found.get("status") or {}, _Status).conditions
    except msgspec.ValidationError:
        return ()
