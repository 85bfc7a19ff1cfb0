"""Kubernetes objects that hold a pod, and where: everything that must be right before one is injected."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from isthmus.inject.containers import PROXY, PROXY_USER
from isthmus.lib.errors import UserError

INJECT = "sidecar.istio.io/inject"
_YES = frozenset({"true", "yes", "on", "y"})

POD_PATHS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): (),
    ("apps", "DaemonSet"): ("spec", "template"),
    ("apps", "Deployment"): ("spec", "template"),
    ("apps", "ReplicaSet"): ("spec", "template"),
    ("apps", "StatefulSet"): ("spec", "template"),
    ("extensions", "DaemonSet"): ("spec", "template"),
    ("extensions", "Deployment"): ("spec", "template"),
    ("extensions", "ReplicaSet"): ("spec", "template"),
    ("", "ReplicationController"): ("spec", "template"),
    ("batch", "Job"): ("spec", "template"),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
"""(API group, kind) → where its pod (metadata and spec) is. A kind is injected when it has a line here.

Group `extensions` is that of Kubernetes before 1.9."""
_LIKELY_PODS = (
    ("spec", "template"),
    ("template",),
    ("spec", "podTemplate"),
    ("spec", "jobTemplate", "spec", "template"),
)
_SYSTEM = frozenset({"kube-system", "kube-public", "kube-node-lease"})


@dataclass(frozen=True, slots=True)
class Workload:
    """One object that holds a pod. `place` is how messages name it: file, line, kind and name.

    `pod` is its pod: a mapping with `metadata` and `spec`, found at `path` in the object.
    """

    place: str
    kind: str
    name: str
    namespace: str
    path: tuple[str, ...]
    pod: Mapping[str, Any]

    def field(self, name: str) -> str:
        """How a field of the pod is named in the whole object, e.g. `spec.template.spec.containers`."""
        return ".".join((*self.path, name))

    def error(self, name: str, text: str) -> UserError:
        """The sentence that this field of the pod is wrong."""
        return UserError(f"{self.place}: {self.field(name)} {text}")

    @property
    def ends(self) -> bool:
        """Whether its containers are meant to end by themselves."""
        return self.spec.get("restartPolicy") in ("Never", "OnFailure")

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The pod's metadata; empty where it has none."""
        return cast("Mapping[str, Any]", self.pod.get("metadata") or {})

    @property
    def spec(self) -> Mapping[str, Any]:
        """The pod's spec."""
        return cast("Mapping[str, Any]", self.pod["spec"])

    @property
    def labels(self) -> Mapping[str, str]:
        """The pod's labels."""
        return cast("Mapping[str, str]", self.metadata.get("labels") or {})

    @property
    def annotations(self) -> Mapping[str, str]:
        """The pod's annotations."""
        return cast("Mapping[str, str]", self.metadata.get("annotations") or {})


def workload_in(body: object, place: str) -> Workload | None:
    """The workload in a decoded document, or None where it is an object of another kind.

    UserError when it is no object at all, or its pod is not what Kubernetes would accept as one.
    """
    if not isinstance(body, dict):
        raise UserError(
            f"{place}: this is no Kubernetes object but a {type(body).__name__}; give objects only."
        )
    document = cast("dict[str, Any]", body)
    kind, version = document.get("kind"), document.get("apiVersion")
    for name, value in (("kind", kind), ("apiVersion", version)):
        if not isinstance(value, str) or not value:
            raise UserError(f"{place}: this object has no {name}; every Kubernetes object needs one.")
    path = POD_PATHS.get((str(version).rpartition("/")[0], str(kind)))
    if path is None:
        return None
    metadata = _mapping(document, "metadata", f"{place}: {kind}")
    name = str(metadata.get("name") or metadata.get("generateName") or "without a name")
    place = f"{place}: {kind} {'/'.join(str(p) for p in (metadata.get('namespace'), name) if p)}"
    pod = document
    for depth, step in enumerate(path):
        pod = _mapping(pod, step, place, ".".join(path[: depth + 1]))
    namespace = str(metadata.get("namespace") or "")
    workload = Workload(place, str(kind), name.removesuffix("-"), namespace, path, pod)
    _check(workload)
    return workload


def why_skipped(workload: Workload) -> str | None:
    """Why this pod gets no sidecar, or None. The label counts before the annotation, as in Istio."""
    if workload.spec.get("hostNetwork"):
        return (
            f"it uses the host's network ({workload.field('spec.hostNetwork')}), which must not be redirected"
        )
    if workload.namespace in _SYSTEM:
        return f"namespace {workload.namespace} is the cluster's own"
    wish = workload.labels.get(INJECT) or workload.annotations.get(INJECT)
    if wish is not None and wish.lower() not in _YES:
        return f"{INJECT} is {wish!r}"
    return None


def likely_pod(body: Mapping[str, Any]) -> str | None:
    """The field that seems to hold a pod in an object of a kind that is not known, such as a Rollout."""
    for path in _LIKELY_PODS:
        found: Any = body
        for step in (*path, "spec", "containers"):
            found = cast("dict[str, Any]", found).get(step) if isinstance(found, dict) else None
        if isinstance(found, list):
            return ".".join(path)
    return None


def _check(workload: Workload) -> None:
    metadata = _mapping(workload.pod, "metadata", workload.place, workload.field("metadata"))
    for part in ("labels", "annotations"):
        entries = _mapping(metadata, part, workload.place, workload.field(f"metadata.{part}"))
        for key, value in entries.items():
            if not isinstance(value, str):
                raise workload.error(f"metadata.{part}[{key}]", f"is {value!r}, not a string; quote it.")
    if not isinstance(workload.pod.get("spec"), dict):
        raise workload.error("spec", "is missing or no mapping; a pod needs one.")
    for part in ("containers", "initContainers", "volumes"):
        _check_named(workload, part, workload.spec.get(part) or [])
    if not workload.spec.get("containers"):
        raise workload.error("spec.containers", "is empty; a pod needs at least one container.")
    containers = cast("list[dict[str, Any]]", workload.spec["containers"])
    for index, container in enumerate(containers):
        field = f"spec.containers[{index}].securityContext"
        security = _mapping(container, "securityContext", workload.place, workload.field(field))
        if security.get("runAsUser") == PROXY_USER and container["name"] != PROXY:
            raise workload.error(
                f"{field}.runAsUser",
                f"is {PROXY_USER}, the sidecar's user, whose traffic is never redirected; choose another.",
            )


def _check_named(workload: Workload, part: str, items: object) -> None:
    if not isinstance(items, list):
        raise workload.error(f"spec.{part}", "must be a list.")
    for index, item in enumerate(cast("list[object]", items)):
        name = cast("dict[str, Any]", item).get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name:
            raise workload.error(f"spec.{part}[{index}].name", "is missing or no string; give it a name.")


def _mapping(parent: Mapping[str, Any], key: str, place: str, field: str = "") -> dict[str, Any]:
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{place}: {field or key} must be a mapping, but is of type {type(value).__name__}.")
    return cast("dict[str, Any]", value)
