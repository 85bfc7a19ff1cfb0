"""What a Deployment says of itself: its status, as derived from its ReplicaSets. Pure."""

from isthmus.lab.controllers.objects import Object, entries, merge_conditions, section
from isthmus.lab.controllers.rollout import Bounds, read_bounds


def derive_status(deployment: Object, new: Object | None, old: list[Object]) -> Object:
    """What `kubectl rollout status` and `kubectl wait --for=condition=Available` read."""
    sets = [*old, new] if new is not None else old
    desired = int(deployment["spec"].get("replicas", 1))
    total = sum(count_of(each, "replicas") for each in sets)
    updated = count_of(new, "replicas") if new is not None else 0
    available = sum(count_of(each, "availableReplicas") for each in sets)
    enough = available >= desired - (0 if recreates(deployment) else bounds_of(deployment).unavailable)
    complete = updated == total == desired and available == desired
    conditions = [
        {
            "type": "Available",
            "status": "True" if enough else "False",
            "reason": "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            "message": f"Deployment {'has' if enough else 'does not have'} minimum availability.",
        },
        {
            "type": "Progressing",
            "status": "True",
            "reason": "NewReplicaSetAvailable" if complete else "ReplicaSetUpdated",
            "message": "All pods are of the newest template." if complete else "Pods are being replaced.",
        },
    ]
    return {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        "replicas": total,
        "updatedReplicas": updated,
        "readyReplicas": sum(count_of(each, "readyReplicas") for each in sets),
        "availableReplicas": available,
        "unavailableReplicas": max(0, max(total, desired) - available),
        "conditions": merge_conditions(entries(deployment, "status", "conditions"), conditions),
    }


def recreates(deployment: Object) -> bool:
    """Whether all old pods must be gone before a new one starts."""
    return section(deployment, "spec", "strategy").get("type") == "Recreate"


def bounds_of(deployment: Object) -> Bounds:
    """The limits of its rolling update; apps/v1 defaults both to 25%."""
    rolling = section(deployment, "spec", "strategy", "rollingUpdate")
    desired = int(deployment["spec"].get("replicas", 1))
    return read_bounds(desired, rolling.get("maxSurge", "25%"), rolling.get("maxUnavailable", "25%"))


def count_of(replica_set: Object, field: str) -> int:
    """A number out of a ReplicaSet's status; 0 while it has not said."""
    return int(section(replica_set, "status").get(field, 0))
