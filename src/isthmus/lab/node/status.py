"""A Pod's status from what the node knows of it, as a kubelet writes it. Pure.

Sources: Kubernetes "Pod Lifecycle" (phases, conditions), KEP-753 for init containers that stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from isthmus.lab.node.podspec import Pod, is_sidecar
from isthmus.lab.node.records import ContainerRecord, Running, State, Terminated, Waiting


@dataclass(frozen=True, slots=True)
class PodState:
    """Everything that a status tells. `address` "" means that there is no sandbox."""

    init: Sequence[ContainerRecord]
    main: Sequence[ContainerRecord]
    address: str
    node_address: str
    started: datetime
    ending: bool
    refused: str = ""


def derive_status(
    pod: Pod, state: PodState, now: datetime, earlier: Mapping[str, tuple[str, str]]
) -> dict[str, Any]:
    """The status to patch in. `earlier` holds (status, time of change) by condition type, as last written."""
    phase = "Failed" if state.refused else derive_phase(pod, state)
    status: dict[str, Any] = {
        "phase": phase,
        "hostIP": state.node_address,
        "hostIPs": [{"ip": state.node_address}],
        "startTime": timestamp(state.started),
        "conditions": [
            _condition(kind, reason, now, earlier) for kind, reason in _conditions(pod, state, phase).items()
        ],
        "containerStatuses": [_container_status(record) for record in state.main],
    }
    if state.init:
        status["initContainerStatuses"] = [_container_status(record, once=True) for record in state.init]
    if state.address:
        status |= {"podIP": state.address, "podIPs": [{"ip": state.address}]}
    if state.refused:
        status |= {"reason": "UnsupportedByLab", "message": state.refused, "containerStatuses": []}
    return status


def derive_phase(pod: Pod, state: PodState) -> str:
    """The pod's phase: Pending, Running, Succeeded or Failed."""
    once = [record for record in state.init if not is_sidecar(record.container)]
    policy = pod.spec.restart_policy
    if policy == "Never" and any(isinstance(r.state, Terminated) and not r.succeeded for r in once):
        return "Failed"
    if not all(record.succeeded for record in once):
        return "Failed" if state.ending and _all_ended(state.init) else "Pending"
    if any(isinstance(r.state, Waiting) and r.last is None for r in state.main):
        return (
            "Failed"
            if state.ending and not any(isinstance(r.state, Running) for r in state.main)
            else "Pending"
        )
    if not _all_ended(state.main) or any(isinstance(record.state, Running) for record in state.init):
        return "Running"
    if policy == "Always" and not state.ending:
        return "Running"
    if all(record.succeeded for record in state.main):
        return "Succeeded"
    return "Failed" if policy != "OnFailure" or state.ending else "Running"


def _all_ended(records: Sequence[ContainerRecord]) -> bool:
    return all(isinstance(record.state, Terminated) for record in records)


def _conditions(pod: Pod, state: PodState, phase: str) -> dict[str, tuple[str, str] | None]:
    """By type: None where it is true, else its reason and message."""
    blocked = [
        r.container.name for r in state.init if not (r.started if is_sidecar(r.container) else r.succeeded)
    ]
    stays = [record for record in state.init if is_sidecar(record.container)]
    unready = [record.container.name for record in (*stays, *state.main) if not record.ready]
    gates = {condition.type for condition in pod.status.conditions if condition.status == "True"}
    closed = [gate.condition_type for gate in pod.spec.readiness_gates if gate.condition_type not in gates]
    containers: tuple[str, str] | None = None
    if phase == "Succeeded":
        blocked, containers = [], ("PodCompleted", "")
    elif phase == "Failed":
        containers = ("PodFailed", "")
    elif unready:
        containers = ("ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    ready = containers
    if ready is None and closed:
        ready = (
            "ReadinessGatesNotReady",
            f"corresponding condition of pod readiness gate {closed[0]!r} is not true",
        )
    if ready is None and state.ending:
        ready = ("PodEnding", "the pod is being deleted")
    incomplete = ("ContainersNotInitialized", f"containers with incomplete status: [{' '.join(blocked)}]")
    return {
        "PodReadyToStartContainers": None if state.address else ("NoSandbox", ""),
        "Initialized": incomplete if blocked else None,
        "Ready": ready,
        "ContainersReady": containers,
        "PodScheduled": None,
    }


def _condition(
    kind: str, reason: tuple[str, str] | None, now: datetime, earlier: Mapping[str, tuple[str, str]]
) -> dict[str, Any]:
    status = "True" if reason is None else "False"
    before, since = earlier.get(kind, ("", ""))
    condition: dict[str, Any] = {
        "type": kind,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": since if before == status and since else timestamp(now),
        "reason": reason[0] if reason else None,
        "message": (reason[1] or None) if reason else None,
    }
    return condition


def _container_status(record: ContainerRecord, *, once: bool = False) -> dict[str, Any]:
    """`once`: it is an init container, which is ready when it has done its work."""
    image = record.container.image
    return {
        "name": record.container.name,
        "image": image,
        "imageID": image if record.container_id else "",
        "containerID": record.container_id,
        "ready": record.ready or (once and record.succeeded),
        "started": record.started,
        "restartCount": record.restarts,
        "state": _state(record.state),
        "lastState": _state(record.last) if record.last else {},
    }


def _state(state: State) -> dict[str, Any]:
    match state:
        case Waiting(reason, message):
            return {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        case Running(started):
            return {"running": {"startedAt": timestamp(started)}}
        case Terminated():
            told: dict[str, Any] = {
                "exitCode": state.exit_code,
                "reason": state.reason,
                "startedAt": timestamp(state.started),
                "finishedAt": timestamp(state.finished),
                "containerID": state.container_id,
            }
            told |= {"signal": state.signal} if state.signal else {}
            return {"terminated": told | ({"message": state.message} if state.message else {})}


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds: how metav1.Time is written."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
