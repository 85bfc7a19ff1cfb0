"""The Pods that one kind of controller makes, numbers and ends."""

from collections.abc import Mapping, Sequence
from typing import Any

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError
from isthmus.lab.controllers.cache import Cache, Caches
from isthmus.lab.controllers.objects import (
    Key,
    Object,
    age,
    condition_of,
    controller_of,
    digest,
    is_controlled_by,
    is_ready,
    is_terminating,
    key_of,
    labels_of,
    owner_reference,
    section,
    uid_of,
)
from isthmus.lab.controllers.queue import WorkQueue

REVISION = "controller-revision-hash"


class OwnedPods:
    """Pods whose controller is of one kind; what is written is awaited until the cache shows it."""

    def __init__(self, client: Client, caches: Caches, owner: Cache, api_version: str) -> None:
        self._client = client
        self._pods = caches["", "pods"]
        self._owners = owner
        self._api_version = api_version

    def wake(self, queue: WorkQueue) -> None:
        """Have owners reconciled as they or their Pods change."""
        kind = self._owners.kind.kind

        def owner_changed(old: Object | None, new: Object | None) -> None:
            if new is not None:
                queue.add(key_of(new))

        def pod_changed(old: Object | None, new: Object | None) -> None:
            either = new or old
            owner = controller_of(either) if either is not None else None
            if either is not None and owner is not None and owner["kind"] == kind:
                queue.add(Key(key_of(either).namespace, owner["name"]))

        self._owners.listen(owner_changed)
        self._pods.listen(pod_changed)

    def of(self, owner: Object) -> list[Object]:
        """Those of one owner, by name."""
        pods = self._pods.within(key_of(owner).namespace)
        return sorted((pod for pod in pods if is_controlled_by(pod, owner)), key=key_of)

    async def create(self, owner: Object, name: str, *, labels: Mapping[str, str], **spec: Any) -> None:
        """Make one Pod of the owner's template, with further labels and fields of its spec."""
        key = key_of(owner)
        body = pod_of(owner, name, self._api_version, self._owners.kind.kind)
        body["metadata"]["labels"] = {
            **labels_of(owner["spec"]["template"]),
            REVISION: revision_of(owner),
            **labels,
        }
        body["spec"] |= spec
        await self._client.create(self._pods.kind, body, key.namespace)
        await self._pods.until(lambda: self._pods.get(Key(key.namespace, name)) is not None)

    async def delete(self, pods: Sequence[Object]) -> None:
        """Ask for their end."""
        await end_pods(self._client, self._pods, pods)

    async def report(self, owner: Object, status: Mapping[str, Any]) -> None:
        """Write what is new of a status; a count of nought is the same as none."""
        before, key = section(owner, "status"), key_of(owner)
        if any((before.get(field) or None) != (value or None) for field, value in status.items()):
            body = {"status": {**status}}
            await self._client.patch(self._owners.kind, key.name, body, key.namespace, subresource="status")


def pod_of(owner: Object, name: str, api_version: str, kind: str) -> Object:
    """A Pod of the owner's template."""
    key, template = key_of(owner), owner["spec"]["template"]
    metadata = {
        **template.get("metadata", {}),
        "name": name,
        "namespace": key.namespace,
        "generateName": f"{key.name}-",
        "ownerReferences": [owner_reference(owner, api_version, kind)],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**template["spec"]}}


async def end_pods(client: Client, cache: Cache, pods: Sequence[Object]) -> None:
    """Ask for the end of Pods, and wait until the cache shows that it was asked for."""
    for pod in pods:
        key = key_of(pod)
        try:
            await client.delete(cache.kind, key.name, key.namespace, uid=uid_of(pod))
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    def going(pod: Object) -> bool:
        now = cache.get(key_of(pod))
        return now is None or uid_of(now) != uid_of(pod) or is_terminating(now)

    await cache.until(lambda: all(going(pod) for pod in pods))


def revision_of(owner: Object) -> str:
    """The name of the owner's template as it is now."""
    return f"{key_of(owner).name}-{digest(owner['spec']['template'])}"


def is_of_revision(pod: Object, revision: str) -> bool:
    """Whether a Pod was made of that template."""
    return labels_of(pod).get(REVISION) == revision


def available_in(owner: Object, pod: Object) -> float | None:
    """Seconds until a Pod counts as available (`minReadySeconds`), None while it is not ready."""
    condition = condition_of(pod, "Ready")
    if condition is None or not is_ready(pod) or is_terminating(pod):
        return None
    wait = float(owner["spec"].get("minReadySeconds", 0))
    return max(0.0, wait - age(condition["lastTransitionTime"])) if wait else 0.0
