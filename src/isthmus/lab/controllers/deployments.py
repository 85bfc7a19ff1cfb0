"""Deployment → ReplicaSets: a new one for each template, sizes moved within the rollout's bounds."""

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError
from isthmus.lab.controllers.cache import Caches
from isthmus.lab.controllers.deployment_status import bounds_of, count_of, derive_status, recreates
from isthmus.lab.controllers.objects import (
    Key,
    Object,
    controller_of,
    digest,
    entries,
    is_controlled_by,
    is_terminating,
    key_of,
    labels_of,
    matches,
    owner_reference,
    section,
    uid_of,
)
from isthmus.lab.controllers.queue import WorkQueue
from isthmus.lab.controllers.rollout import Generation, next_sizes

HASH_LABEL = "pod-template-hash"
_REVISION = "deployment.kubernetes.io/revision"


class Deployments:
    """Reconciles Deployments by name."""

    def __init__(self, client: Client, caches: Caches, queue: WorkQueue) -> None:
        self._client = client
        self._deployments = caches["apps", "deployments"]
        self._sets = caches["apps", "replicasets"]
        self._pods = caches["", "pods"]
        self._queue = queue
        self._deployments.listen(self._deployment_changed)
        self._sets.listen(self._set_changed)
        self._pods.listen(self._pod_changed)

    def _deployment_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._queue.add(key_of(new))

    def _set_changed(self, old: Object | None, new: Object | None) -> None:
        for each in (old, new):
            if each is None:
                continue
            owner = controller_of(each)
            if owner is not None:
                self._queue.add(Key(key_of(each).namespace, owner["name"]))
                continue
            for deployment in self._deployments.within(key_of(each).namespace):
                if matches(deployment["spec"]["selector"], labels_of(each)):
                    self._queue.add(key_of(deployment))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """Only `Recreate` waits for pods to be gone: a removed one may be the last."""
        if old is not None and new is None:
            for deployment in self._deployments.within(key_of(old).namespace):
                if recreates(deployment) and matches(deployment["spec"]["selector"], labels_of(old)):
                    self._queue.add(key_of(deployment))

    async def reconcile(self, key: Key) -> None:
        """Move its ReplicaSets one step, and say in the status how far it is."""
        deployment = self._deployments.get(key)
        if deployment is None or is_terminating(deployment):
            return
        sets = sorted(await self._claim(deployment), key=_revision)
        label = digest(deployment["spec"]["template"])
        new = next((each for each in sets if labels_of(each).get(HASH_LABEL) == label), None)
        old = [each for each in sets if each is not new]
        paused = bool(deployment["spec"].get("paused"))
        if new is None and not paused:
            revision = max((_revision(each) for each in old), default=0) + 1
            new = await self._create(deployment, label, revision)
        elif new is not None and old and _revision(new) < _revision(old[-1]):
            await self._annotate_set(new, _revision(old[-1]) + 1)
            return
        await self._annotate(deployment, new)
        await self._resize(deployment, new, old, paused=paused)
        await self._forget(deployment, old)
        await self._report(deployment, new, old)

    async def _claim(self, deployment: Object) -> list[Object]:
        owned: list[Object] = []
        key = key_of(deployment)
        for each in tuple(self._sets.within(key.namespace)):
            if is_controlled_by(each, deployment):
                owned.append(each)
            elif controller_of(each) is None and matches(deployment["spec"]["selector"], labels_of(each)):
                reference = owner_reference(deployment, "apps/v1", "Deployment")
                others = entries(each, "metadata", "ownerReferences")
                body = {"metadata": {"uid": uid_of(each), "ownerReferences": [*others, reference]}}
                await self._client.patch(self._sets.kind, key_of(each).name, body, key.namespace)
                owned.append(each)
        return owned

    async def _create(self, deployment: Object, label: str, revision: int) -> Object:
        """A ReplicaSet of no pods yet; its name follows from the template, so a second one cannot appear."""
        key, spec = key_of(deployment), deployment["spec"]
        template, metadata = spec["template"], section(spec, "template", "metadata")
        labels = {**section(metadata, "labels"), HASH_LABEL: label}
        selector = spec["selector"]
        body: Object = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{key.name}-{label}",
                "namespace": key.namespace,
                "labels": labels,
                "annotations": {_REVISION: str(revision)},
                "ownerReferences": [owner_reference(deployment, "apps/v1", "Deployment")],
            },
            "spec": {
                "replicas": 0,
                "minReadySeconds": spec.get("minReadySeconds", 0),
                "selector": {
                    **selector,
                    "matchLabels": {**section(selector, "matchLabels"), HASH_LABEL: label},
                },
                "template": {**template, "metadata": {**metadata, "labels": labels}},
            },
        }
        made = await self._client.create(self._sets.kind, body, key.namespace)
        await self._sets.until(lambda: self._sets.get(key_of(made)) is not None)
        return made

    async def _annotate_set(self, replica_set: Object, revision: int) -> None:
        """A template that comes back is the newest revision again."""
        key, body = key_of(replica_set), {"metadata": {"annotations": {_REVISION: str(revision)}}}
        await self._client.patch(self._sets.kind, key.name, body, key.namespace)

    async def _annotate(self, deployment: Object, new: Object | None) -> None:
        key, revision = key_of(deployment), str(_revision(new)) if new is not None else ""
        if new is not None and section(deployment, "metadata", "annotations").get(_REVISION) != revision:
            body = {"metadata": {"annotations": {_REVISION: revision}}}
            await self._client.patch(self._deployments.kind, key.name, body, key.namespace)

    async def _resize(
        self, deployment: Object, new: Object | None, old: list[Object], *, paused: bool
    ) -> None:
        if new is None:
            return
        desired = int(deployment["spec"].get("replicas", 1))
        if paused:
            sizes = {key_of(new).name: desired} if not old else {}
        elif recreates(deployment):
            sizes = self._recreate_sizes(new, old, desired)
        else:
            sizes = next_sizes(bounds_of(deployment), _generation(new), [_generation(each) for each in old])
        for each in (new, *old):
            key = key_of(each)
            size = sizes.get(key.name, each["spec"].get("replicas", 1))
            if size != each["spec"].get("replicas", 1):
                # The version makes a step from an outdated view a conflict: two steps must not add up.
                version = each["metadata"]["resourceVersion"]
                body = {"metadata": {"resourceVersion": version}, "spec": {"replicas": size}}
                await self._client.patch(self._sets.kind, key.name, body, key.namespace)

    def _recreate_sizes(self, new: Object, old: list[Object], desired: int) -> dict[str, int]:
        sizes = {key_of(each).name: 0 for each in old}
        owners = {uid_of(each) for each in old}
        namespace = key_of(new).namespace
        left = any((controller_of(pod) or {}).get("uid") in owners for pod in self._pods.within(namespace))
        return sizes if left else {**sizes, key_of(new).name: desired}

    async def _forget(self, deployment: Object, old: list[Object]) -> None:
        idle = [each for each in old if not each["spec"].get("replicas") and not count_of(each, "replicas")]
        excess = len(idle) - int(deployment["spec"].get("revisionHistoryLimit", 10))
        for each in idle[: max(excess, 0)]:
            key = key_of(each)
            try:
                await self._client.delete(self._sets.kind, key.name, key.namespace, uid=uid_of(each))
            except ApiError as error:
                if error.status not in (404, 409):
                    raise

    async def _report(self, deployment: Object, new: Object | None, old: list[Object]) -> None:
        key = key_of(deployment)
        status = derive_status(deployment, new, old)
        before = section(deployment, "status")
        if any(before.get(field) != value for field, value in status.items()):
            body = {"status": status}
            await self._client.patch(
                self._deployments.kind, key.name, body, key.namespace, subresource="status"
            )


def _revision(replica_set: Object) -> int:
    return int(section(replica_set, "metadata", "annotations").get(_REVISION, "0"))


def _generation(replica_set: Object) -> Generation:
    size = int(replica_set["spec"].get("replicas", 1))
    return Generation(key_of(replica_set).name, size, count_of(replica_set, "availableReplicas"))
