"""StatefulSet → Pods NAME-0, NAME-1, …: one after the other, the last one first to go, one of each name.

Source: Kubernetes "StatefulSets", Deployment and Scaling Guarantees. There are no claims, and no earlier
templates: both are refused with the StatefulSet itself (`lab.apiserver.sets`).
"""

from isthmus.kube.client import Client
from isthmus.lab.controllers.cache import Caches
from isthmus.lab.controllers.objects import Key, Object, is_finished, is_terminating, key_of, section
from isthmus.lab.controllers.owned import OwnedPods, available_in, is_of_revision, revision_of
from isthmus.lab.controllers.queue import WorkQueue

_POD_NAME = "statefulset.kubernetes.io/pod-name"
_POD_INDEX = "apps.kubernetes.io/pod-index"


class StatefulSets:
    """Reconciles StatefulSets by name."""

    def __init__(self, client: Client, caches: Caches, queue: WorkQueue) -> None:
        self._sets = caches["apps", "statefulsets"]
        self._pods = OwnedPods(client, caches, self._sets, "apps/v1")
        self._queue = queue
        self._pods.wake(queue)

    async def reconcile(self, key: Key) -> None:
        """Take the next step towards the Pods that are wanted, and say in the status how far it has come."""
        found = self._sets.get(key)
        if found is None:
            return
        if not is_terminating(found):
            await self._step(found, {ordinal_of(pod): pod for pod in self._pods.of(found)})
        await self._report(found, self._pods.of(found))

    async def _step(self, found: Object, pods: dict[int, Object]) -> None:
        spec = found["spec"]
        one_by_one = spec["podManagementPolicy"] == "OrderedReady"
        start = int(section(spec, "ordinals").get("start", 0))
        wanted = range(start, start + int(spec["replicas"]))
        for ordinal in wanted:
            pod = pods.get(ordinal)
            if pod is None:
                await self._create(found, ordinal)
            elif is_finished(pod) and not is_terminating(pod):
                await self._pods.delete([pod])
            elif not one_by_one or self._is_available(found, pod):
                continue
            if one_by_one:
                return
        surplus = [pods[ordinal] for ordinal in sorted(pods, reverse=True) if ordinal not in wanted]
        if surplus:
            ending = any(is_terminating(pod) for pod in surplus)
            if not (one_by_one and ending):
                await self._pods.delete(surplus[:1] if one_by_one else surplus)
            return
        if spec["updateStrategy"]["type"] == "RollingUpdate":
            await self._update(found, [pods[ordinal] for ordinal in reversed(wanted) if ordinal in pods])

    async def _update(self, found: Object, pods: list[Object]) -> None:
        """Replace the last Pod that is of an old template, once all behind it are available again."""
        for pod in pods:
            if not is_terminating(pod) and not is_of_revision(pod, revision_of(found)):
                await self._pods.delete([pod])
                return
            if not self._is_available(found, pod):
                return

    def _is_available(self, found: Object, pod: Object) -> bool:
        wait = available_in(found, pod)
        if wait:
            self._queue.add_later(key_of(found), wait)
        return wait == 0

    async def _create(self, found: Object, ordinal: int) -> None:
        name = f"{key_of(found).name}-{ordinal}"
        labels = {_POD_NAME: name, _POD_INDEX: str(ordinal)}
        subdomain = found["spec"].get("serviceName", "")
        await self._pods.create(
            found, name, labels=labels, hostname=name, **({"subdomain": subdomain} if subdomain else {})
        )

    async def _report(self, found: Object, pods: list[Object]) -> None:
        spec, before, update = found["spec"], section(found, "status"), revision_of(found)
        waits = [available_in(found, pod) for pod in pods]
        current = before.get("currentRevision") or update
        updated = sum(is_of_revision(pod, update) for pod in pods)
        if updated == len(pods) == spec["replicas"] and None not in waits:
            current = update
        status = {
            "observedGeneration": found["metadata"].get("generation", 0),
            "replicas": len(pods),
            "readyReplicas": sum(wait is not None for wait in waits),
            "availableReplicas": sum(wait == 0 for wait in waits),
            "currentReplicas": sum(is_of_revision(pod, current) for pod in pods),
            "updatedReplicas": updated,
            "currentRevision": current,
            "updateRevision": update,
            "collisionCount": 0,
        }
        await self._pods.report(found, status)


def ordinal_of(pod: Object) -> int:
    """The number at the end of its name."""
    return int(key_of(pod).name.rpartition("-")[2])
