"""ReplicaSet → Pods: as many as asked for, adopted by selector, the least useful deleted first."""

from isthmus.kube.client import Client
from isthmus.lab.controllers.cache import Caches
from isthmus.lab.controllers.objects import (
    Key,
    Object,
    age,
    condition_of,
    controller_of,
    entries,
    is_controlled_by,
    is_finished,
    is_ready,
    is_terminating,
    key_of,
    labels_of,
    matches,
    name_below,
    owner_reference,
    section,
    uid_of,
)
from isthmus.lab.controllers.owned import end_pods, pod_of
from isthmus.lab.controllers.queue import WorkQueue

_PHASES = ("Pending", "Unknown", "Running")


class ReplicaSets:
    """Reconciles ReplicaSets by name."""

    def __init__(self, client: Client, caches: Caches, queue: WorkQueue) -> None:
        self._client = client
        self._sets = caches["apps", "replicasets"]
        self._pods = caches["", "pods"]
        self._queue = queue
        self._sets.listen(self._set_changed)
        self._pods.listen(self._pod_changed)

    def _set_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._queue.add(key_of(new))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        for pod in (old, new):
            if pod is None:
                continue
            owner = controller_of(pod)
            if owner is None:
                for each in self._sets.within(key_of(pod).namespace):
                    if matches(each["spec"]["selector"], labels_of(pod)):
                        self._queue.add(key_of(each))
            elif owner["kind"] == "ReplicaSet":
                self._queue.add(Key(key_of(pod).namespace, owner["name"]))

    async def reconcile(self, key: Key) -> None:
        """Create or delete Pods until their number is right, and say so in the status."""
        replica_set = self._sets.get(key)
        if replica_set is None:
            return
        pods = await self._claim(replica_set)
        active = [pod for pod in pods if not is_terminating(pod) and not is_finished(pod)]
        surplus = len(active) - int(replica_set["spec"].get("replicas", 1))
        if not is_terminating(replica_set) and surplus < 0:
            await self._create(replica_set, -surplus)
        elif not is_terminating(replica_set) and surplus > 0:
            await end_pods(self._client, self._pods, sorted(active, key=usefulness)[:surplus])
        await self._report(replica_set, active)

    async def _claim(self, replica_set: Object) -> list[Object]:
        """Its Pods, those without a controller taken over and those that no longer match let go."""
        owned: list[Object] = []
        for pod in tuple(self._pods.within(key_of(replica_set).namespace)):
            fits = matches(replica_set["spec"]["selector"], labels_of(pod))
            ended = is_terminating(pod) or is_finished(pod)
            if is_controlled_by(pod, replica_set):
                if fits:
                    owned.append(pod)
                else:
                    await self._set_owner(pod, None)
            elif fits and controller_of(pod) is None and not ended and not is_terminating(replica_set):
                await self._set_owner(pod, owner_reference(replica_set, "apps/v1", "ReplicaSet"))
                owned.append(pod)
        return owned

    async def _set_owner(self, pod: Object, owner: Object | None) -> None:
        others = [ref for ref in entries(pod, "metadata", "ownerReferences") if not ref.get("controller")]
        metadata = {
            "uid": uid_of(pod),
            "resourceVersion": pod["metadata"]["resourceVersion"],
            "ownerReferences": [*others, owner] if owner else others,
        }
        key = key_of(pod)
        await self._client.patch(self._pods.kind, key.name, {"metadata": metadata}, key.namespace)

    async def _create(self, replica_set: Object, count: int) -> None:
        key = key_of(replica_set)
        made: list[Key] = []
        for _ in range(count):
            name = name_below(key.name)
            body = pod_of(replica_set, name, "apps/v1", "ReplicaSet")
            await self._client.create(self._pods.kind, body, key.namespace)
            made.append(Key(key.namespace, name))
        await self._pods.until(lambda: all(self._pods.get(each) for each in made))

    async def _report(self, replica_set: Object, active: list[Object]) -> None:
        key, wait = key_of(replica_set), float(replica_set["spec"].get("minReadySeconds", 0))
        ready = [pod for pod in active if is_ready(pod)]
        remaining = [wait - _ready_for(pod) for pod in ready] if wait else []
        pending = [seconds for seconds in remaining if seconds > 0]
        if pending:
            self._queue.add_later(key, min(pending))
        wanted = labels_of(replica_set["spec"]["template"])
        status = {
            "replicas": len(active),
            "fullyLabeledReplicas": sum(wanted.items() <= labels_of(pod).items() for pod in active),
            "readyReplicas": len(ready),
            "availableReplicas": len(ready) - len(pending),
            "observedGeneration": replica_set["metadata"].get("generation", 0),
        }
        before = section(replica_set, "status")
        if any(before.get(field) != value for field, value in status.items()):
            body = {"status": status}
            await self._client.patch(self._sets.kind, key.name, body, key.namespace, subresource="status")


def _ready_for(pod: Object) -> float:
    condition = condition_of(pod, "Ready")
    return age(condition["lastTransitionTime"]) if condition else 0.0


def usefulness(pod: Object) -> tuple[bool, int, bool, int, str]:
    """A sort key, least useful first: unassigned, pending, unready, cheap to delete, then the youngest.

    The order is ReplicaSet's own ("How a ReplicaSet scales down"); times are inverted to sort descending.
    """
    status = section(pod, "status")
    cost = section(pod, "metadata", "annotations").get("controller.kubernetes.io/pod-deletion-cost", "0")
    born = pod["metadata"].get("creationTimestamp", "")
    youngest_first = "".join(chr(255 - ord(letter)) for letter in born)
    phase = status.get("phase", "Pending")
    rank = _PHASES.index(phase) if phase in _PHASES else 0
    return bool(pod["spec"].get("nodeName")), rank, is_ready(pod), int(cost), youngest_first
