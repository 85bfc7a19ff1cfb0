"""DaemonSet → one Pod on each node that its template's `nodeSelector` admits.

A Pod is assigned to its node as it is made; Kubernetes leaves that to the scheduler. Taints are not looked
at, since nodes of the lab have none.
"""

from isthmus.kube.client import Client
from isthmus.lab.controllers.cache import Caches
from isthmus.lab.controllers.objects import (
    Key,
    Object,
    is_finished,
    is_terminating,
    key_of,
    labels_of,
    name_below,
    section,
)
from isthmus.lab.controllers.owned import OwnedPods, available_in, is_of_revision, revision_of
from isthmus.lab.controllers.queue import WorkQueue


class DaemonSets:
    """Reconciles DaemonSets by name."""

    def __init__(self, client: Client, caches: Caches, queue: WorkQueue) -> None:
        self._sets = caches["apps", "daemonsets"]
        self._nodes = caches["", "nodes"]
        self._pods = OwnedPods(client, caches, self._sets, "apps/v1")
        self._queue = queue
        self._pods.wake(queue)
        self._nodes.listen(self._node_changed)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or labels_of(old) != labels_of(new):
            for each in self._sets:
                self._queue.add(key_of(each))

    async def reconcile(self, key: Key) -> None:
        """Have one Pod on each node, of the newest template in the end, and say so in the status."""
        found = self._sets.get(key)
        if found is None:
            return
        nodes = {key_of(node).name for node in self._nodes if _admits(found, node)}
        if not is_terminating(found):
            await self._place(found, nodes)
        await self._report(found, nodes)

    async def _place(self, found: Object, nodes: set[str]) -> None:
        useless: list[Object] = []
        served: set[str] = set()
        for pod in self._pods.of(found):
            node = pod["spec"].get("nodeName", "")
            if is_terminating(pod):
                served.add(node)  # Its successor waits for its end.
            elif is_finished(pod) or node not in nodes or node in served:
                useless.append(pod)
            else:
                served.add(node)
        await self._pods.delete(useless)
        for node in sorted(nodes - served):
            await self._pods.create(found, name_below(key_of(found).name), labels={}, nodeName=node)
        if found["spec"]["updateStrategy"]["type"] == "RollingUpdate":
            await self._update(found, len(nodes))

    async def _update(self, found: Object, nodes: int) -> None:
        pods = [pod for pod in self._pods.of(found) if not is_terminating(pod)]
        old = [pod for pod in pods if not is_of_revision(pod, revision_of(found))]
        broken = [pod for pod in old if available_in(found, pod) != 0]
        room = _most_unavailable(found, nodes) - (nodes - sum(available_in(found, pod) == 0 for pod in pods))
        working = [pod for pod in old if pod not in broken]
        await self._pods.delete([*broken, *working[: max(0, room)]])

    async def _report(self, found: Object, nodes: set[str]) -> None:
        pods = [pod for pod in self._pods.of(found) if not is_terminating(pod)]
        placed = [pod for pod in pods if pod["spec"].get("nodeName") in nodes]
        waits = [available_in(found, pod) for pod in placed]
        for wait in waits:
            if wait:
                self._queue.add_later(key_of(found), wait)
        available = sum(wait == 0 for wait in waits)
        status = {
            "observedGeneration": found["metadata"].get("generation", 0),
            "desiredNumberScheduled": len(nodes),
            "currentNumberScheduled": len(placed),
            "numberMisscheduled": len(pods) - len(placed),
            "numberReady": sum(wait is not None for wait in waits),
            "numberAvailable": available or None,
            "numberUnavailable": len(nodes) - available or None,
            "updatedNumberScheduled": sum(is_of_revision(pod, revision_of(found)) for pod in placed) or None,
        }
        await self._pods.report(found, status)


def _admits(found: Object, node: Object) -> bool:
    wanted = section(found, "spec", "template", "spec", "nodeSelector")
    return not is_terminating(node) and wanted.items() <= labels_of(node).items()


def _most_unavailable(found: Object, nodes: int) -> int:
    """`maxUnavailable` of so many nodes: a number, or a percentage, rounded up."""
    given = section(found, "spec", "updateStrategy", "rollingUpdate").get("maxUnavailable", 1)
    if isinstance(given, str):
        return -(-nodes * int(given.removesuffix("%")) // 100)
    return int(given)
