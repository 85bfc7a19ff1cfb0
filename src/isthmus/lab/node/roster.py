"""All pods of the node: starts a run for each that is bound here, tells it what changes, and binds those that
nobody has.

Binding is the scheduler's job; with one node there is nothing to choose.
"""

import asyncio

import structlog

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.watch import Event, Removed, Synced, Upserted
from isthmus.lab.node.configs import ConfigName
from isthmus.lab.node.pods import NodeParts, PodRun
from isthmus.lab.node.podspec import POD, Pod
from isthmus.lib.backoff import Backoff
from isthmus.lib.lifecycle import TaskScope

_log = structlog.get_logger()


class Roster:
    """The pods of one node, by UID. `scope` holds a task for each."""

    def __init__(self, node: NodeParts, scope: TaskScope) -> None:
        self._node = node
        self._scope = scope
        self._runs: dict[str, PodRun] = {}
        self._binding: set[str] = set()

    def deliver(self, event: Event[Pod]) -> None:
        """Take an event of the watch of all Pods."""
        match event:
            case Synced():
                return
            case Upserted(pod):
                self._upserted(pod)
            case Removed(pod):
                self._binding.discard(pod.metadata.uid)
                run = self._runs.pop(pod.metadata.uid, None)
                if run is not None:
                    run.removed()

    def configs_changed(self, name: ConfigName) -> None:
        """A ConfigMap or Secret changed."""
        for run in self._runs.values():
            run.configs_changed(name)

    def pod(self, namespace: str, name: str) -> PodRun | None:
        """The run of the newest pod of that name, None where there is none."""
        wanted = (namespace, name)
        named = [
            run
            for run in self._runs.values()
            if (run.pod.metadata.namespace, run.pod.metadata.name) == wanted
        ]
        return named[-1] if named else None

    def _upserted(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        known = self._runs.get(uid)
        if known is None:
            self._forget_namesakes(pod)
        if known is not None:
            known.update(pod)
        elif pod.spec.node_name == self._node.plan.node_name:
            run = self._runs[uid] = PodRun(self._node, pod)
            self._scope.spawn(self._supervise(run), name=f"pod {pod.ref}")
        elif not pod.spec.node_name and not pod.metadata.deletion_timestamp and uid not in self._binding:
            self._binding.add(uid)
            self._scope.spawn(
                bind_pod(self._node.client, pod, self._node.plan.node_name), name=f"bind {pod.ref}"
            )

    def _forget_namesakes(self, pod: Pod) -> None:
        """A new pod under a known name: the end of the old one was missed while no watch was open."""
        for uid, run in tuple(self._runs.items()):
            if run.pod.ref == pod.ref:
                del self._runs[uid]
                run.removed()

    async def _supervise(self, run: PodRun) -> None:
        """The boundary that keeps one pod's failure from others: a bug is logged, and its pod is lost."""
        try:
            await run.run()
        except Exception as error:  # noqa: BLE001
            _log.exception("pod failed", pod=run.pod.ref, error=str(error))
            self._node.events.tell(run.pod, "Failed", f"the lab's node failed: {error}", warning=True)


async def bind_pod(client: Client, pod: Pod, node_name: str) -> None:
    """Bind a pod to the node (core/v1 Binding); tries until it is bound, by whomever, or gone."""
    meta, backoff = pod.metadata, Backoff(initial=0.1, cap=5.0)
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node_name},
    }
    while True:
        try:
            await client.request("POST", POD.path(meta.namespace, meta.name, "binding"), body=body)
            return
        except ApiError as error:
            if error.status in (404, 409):
                return
            _log.warning("pod not bound; will try again", pod=pod.ref, error=str(error))
        except Unreachable as error:
            _log.warning("pod not bound; will try again", pod=pod.ref, error=str(error))
        await asyncio.sleep(backoff.next_delay())
