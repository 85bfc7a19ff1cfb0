"""StatefulSets and DaemonSets: defaults and rules. Pure.

Refused, where Kubernetes would take them: claims for storage, which the lab has none of, a partition of a
rolling update, for which earlier templates would have to be kept, and more pods than nodes during one.
"""

from collections.abc import Iterator

from isthmus.lab.apiserver.errors import Cause, forbidden_value, invalid_value, unsupported
from isthmus.lab.apiserver.objects import Object, section
from isthmus.lab.apiserver.workloads import (
    default_template,
    validate_replica_set,
    validate_template,
    validate_workload_update,
)

_STRATEGIES = ("OnDelete", "RollingUpdate")
_POLICIES = ("OrderedReady", "Parallel")
_KEPT = ("serviceName", "podManagementPolicy", "volumeClaimTemplates")
_UNKNOWN = "is not known to the embedded API server"


def default_stateful_set(stateful_set: Object) -> None:
    """Fill in a StatefulSet as the API server does."""
    spec = stateful_set.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("persistentVolumeClaimRetentionPolicy", {"whenDeleted": "Retain", "whenScaled": "Retain"})
    strategy = spec.setdefault("updateStrategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    default_template(spec)
    stateful_set.setdefault("status", {"replicas": 0, "availableReplicas": 0})


def validate_stateful_set(stateful_set: Object) -> Iterator[Cause]:
    """The faults of a StatefulSet, after defaulting."""
    spec = stateful_set["spec"]
    yield from validate_replica_set(stateful_set, "statefulset")
    yield from _validate_strategy(spec["updateStrategy"])
    if spec["podManagementPolicy"] not in _POLICIES:
        yield unsupported("spec.podManagementPolicy", spec["podManagementPolicy"], _POLICIES)
    start = section(spec, "ordinals").get("start", 0)
    if start < 0:
        yield invalid_value("spec.ordinals.start", start, "must be greater than or equal to 0")
    if spec.get("volumeClaimTemplates"):
        yield forbidden_value("spec.volumeClaimTemplates", _UNKNOWN)
    if section(spec["updateStrategy"], "rollingUpdate").get("partition"):
        yield forbidden_value("spec.updateStrategy.rollingUpdate.partition", _UNKNOWN)


def validate_stateful_set_update(new: Object, old: Object) -> Iterator[Cause]:
    """Faults of a change: who the pods are stays as it was created."""
    yield from validate_workload_update(new, old)
    if any(new["spec"].get(field) != old["spec"].get(field) for field in _KEPT):
        text = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
            "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
            "'minReadySeconds' are forbidden"
        )
        yield forbidden_value("spec", text)


def default_daemon_set(daemon_set: Object) -> None:
    """Fill in a DaemonSet as the API server does."""
    spec = daemon_set.setdefault("spec", {})
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    default_template(spec)
    counts = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
    daemon_set.setdefault("status", dict.fromkeys(counts, 0))


def validate_daemon_set(daemon_set: Object) -> Iterator[Cause]:
    """The faults of a DaemonSet, after defaulting."""
    strategy = daemon_set["spec"]["updateStrategy"]
    yield from validate_template(daemon_set, "daemonset")
    yield from _validate_strategy(strategy)
    if section(strategy, "rollingUpdate").get("maxSurge", 0) not in (0, "0%"):
        yield forbidden_value("spec.updateStrategy.rollingUpdate.maxSurge", _UNKNOWN)


def _validate_strategy(strategy: Object) -> Iterator[Cause]:
    kind = strategy["type"]
    if kind not in _STRATEGIES:
        yield unsupported("spec.updateStrategy.type", kind, _STRATEGIES)
    if kind == "OnDelete" and strategy.get("rollingUpdate"):
        text = "only allowed for updateStrategy 'RollingUpdate'"
        yield invalid_value("spec.updateStrategy.rollingUpdate", strategy["rollingUpdate"], text)
