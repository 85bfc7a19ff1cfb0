"""Deployments and ReplicaSets: defaults, rules, and the Scale that both answer. Pure."""

from collections.abc import Iterator, Mapping
from typing import cast

from isthmus.lab.apiserver import jsonpath
from isthmus.lab.apiserver.errors import Cause, invalid_value, required, unsupported
from isthmus.lab.apiserver.names import validate_label_selector, validate_labels
from isthmus.lab.apiserver.objects import Object, encode, items, metadata, section
from isthmus.lab.apiserver.pods import default_pod_spec, validate_pod_spec
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.selectors import selects

_SCALE_PATHS = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".spec.selector",
}
_DEPLOYMENT = {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600}


def default_deployment(deployment: Object) -> None:
    """Fill in a Deployment as the API server does."""
    spec = deployment.setdefault("spec", {})
    for field, value in _DEPLOYMENT.items():
        spec.setdefault(field, value)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", "25%")
        rolling.setdefault("maxUnavailable", "25%")
    default_template(spec)
    deployment.setdefault("status", {})


def default_replica_set(replica_set: Object) -> None:
    """Fill in a ReplicaSet as the API server does."""
    spec = replica_set.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    default_template(spec)
    replica_set.setdefault("status", {"replicas": 0})


def default_template(spec: Object) -> None:
    """Fill in what all pod templates have."""
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    default_pod_spec(template.setdefault("spec", {}))


def validate_deployment(deployment: Object) -> Iterator[Cause]:
    """The faults of a Deployment, after defaulting."""
    spec = deployment["spec"]
    yield from validate_replica_set(deployment)
    rolling = section(spec["strategy"], "rollingUpdate")
    if rolling and all(str(rolling.get(bound)) in ("0", "0%") for bound in ("maxSurge", "maxUnavailable")):
        text = "may not be 0 when `maxSurge` is 0"
        yield invalid_value("spec.strategy.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], text)
    for field in ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
        if spec.get(field, 0) < 0:
            yield invalid_value(f"spec.{field}", spec[field], "must be greater than or equal to 0")
    if spec["progressDeadlineSeconds"] <= spec.get("minReadySeconds", 0):
        text = "must be greater than minReadySeconds"
        yield invalid_value("spec.progressDeadlineSeconds", spec["progressDeadlineSeconds"], text)
    kind = spec["strategy"]["type"]
    if kind not in ("Recreate", "RollingUpdate"):
        yield unsupported("spec.strategy.type", kind, ("Recreate", "RollingUpdate"))
    if kind == "Recreate" and spec["strategy"].get("rollingUpdate"):
        text = "may not be specified when strategy `type` is 'Recreate'"
        yield Cause("spec.strategy.rollingUpdate", "FieldValueForbidden", f"Forbidden: {text}")


def validate_replica_set(workload: Object, kind: str = "deployment") -> Iterator[Cause]:
    """The faults that Deployments, ReplicaSets and StatefulSets share; `kind` as for `validate_template`."""
    replicas = workload["spec"]["replicas"]
    if not isinstance(replicas, int) or replicas < 0:
        yield invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
    yield from validate_template(workload, kind)


def validate_template(workload: Object, kind: str = "deployment") -> Iterator[Cause]:
    """The faults of a pod template whose pods are kept: the selector must select it.

    `kind` is what Kubernetes calls the workload in a message; for ReplicaSets it says deployment, too.
    """
    spec = workload["spec"]
    selector, labels = section(spec, "selector"), section(metadata(spec["template"]), "labels")
    if "selector" not in spec:
        yield required("spec.selector")
    elif not selector:
        yield invalid_value("spec.selector", {}, f"empty selector is invalid for {kind}")
    faults = list(validate_label_selector(selector, "spec.selector"))
    yield from faults
    if any(".operator" in fault.field or ".values" in fault.field for fault in faults):
        yield invalid_value("spec.selector", selector, "invalid label selector")
    elif "selector" not in spec or not selects(selector)({"metadata": {"labels": labels}}):
        text = "`selector` does not match template `labels`"
        yield invalid_value("spec.template.metadata.labels", labels or None, text)
    yield from validate_labels(labels, "spec.template.labels")
    yield from validate_pod_spec(spec["template"]["spec"], "spec.template.spec")
    if spec["template"]["spec"]["restartPolicy"] != "Always":
        policy = spec["template"]["spec"]["restartPolicy"]
        yield unsupported("spec.template.spec.restartPolicy", policy, ("Always",))


def validate_workload_update(workload: Object, old: Object) -> Iterator[Cause]:
    """Faults of a change: the selector stays as it was created."""
    new, was = section(workload["spec"], "selector"), section(old["spec"], "selector")
    if new != was:
        shown = encode(new).decode()
        yield Cause("spec.selector", "FieldValueInvalid", f"Invalid value: {shown}: field is immutable")


def scale_of(resource: Resource, workload: Object) -> Object:
    """The Scale of a workload (autoscaling/v1)."""
    meta = workload["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    paths = _scale_paths(resource)
    selector = jsonpath.first(paths["labelSelectorPath"], workload) if "labelSelectorPath" in paths else None
    if isinstance(selector, dict):
        selector = selector_text(cast("Object", selector))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: meta[key] for key in kept if key in meta},
        "spec": {"replicas": jsonpath.first(paths["specReplicasPath"], workload) or 0},
        "status": {
            "replicas": jsonpath.first(paths["statusReplicasPath"], workload) or 0,
            **({"selector": selector} if selector else {}),
        },
    }


def _scale_paths(resource: Resource) -> Mapping[str, str]:
    definition = resource.definition
    return definition.scale if definition is not None and definition.scale else _SCALE_PATHS


def scaled(resource: Resource, workload: Object, scale: Mapping[str, object]) -> Object:
    """The workload with the replicas of a Scale; its preconditions are taken over too."""
    replicas = section(scale, "spec").get("replicas", 0)
    meta = {**workload["metadata"]}
    version = metadata(scale).get("resourceVersion")
    if version:
        meta["resourceVersion"] = version
    result = {
        "kind": resource.kind,
        "apiVersion": resource.group_version,
        **workload,
        "metadata": meta,
    }
    at: Object = result
    *parents, last = _scale_paths(resource)["specReplicasPath"].lstrip(".").split(".")
    for parent in parents:
        at[parent] = {**section(at, parent)}
        at = at[parent]
    at[last] = replicas
    return result


def selector_text(selector: Object) -> str:
    """A LabelSelector as `kubectl get -l` would be given it."""
    parts = [f"{key}={value}" for key, value in sorted(section(selector, "matchLabels").items())]
    for one in items(selector, "matchExpressions"):
        values = ",".join(sorted(one.get("values") or []))
        match one.get("operator"):
            case "In":
                parts.append(f"{one['key']} in ({values})")
            case "NotIn":
                parts.append(f"{one['key']} notin ({values})")
            case "Exists":
                parts.append(one["key"])
            case _:
                parts.append(f"!{one['key']}")
    return ",".join(parts)
