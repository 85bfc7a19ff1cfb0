from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from isthmus.lab.node.podspec import Container, Pod
from isthmus.lab.node.records import ContainerRecord, Running, State, Terminated, Waiting
from isthmus.lab.node.status import PodState, derive_phase, derive_status
from tests.lab.node.builders import pod

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUNNING = Running(NOW)
CREATING = Waiting("ContainerCreating")


def ended(code: int) -> Terminated:
    return Terminated(code, NOW, NOW, "Completed" if code == 0 else "Error", "id")


def record(
    state: State, *, ready: bool = False, sidecar: bool = False, last: Terminated | None = None
) -> ContainerRecord:
    container = Container(name="c", image="isthmus/echo", restart_policy="Always" if sidecar else "")
    return ContainerRecord(container, state, last=last, ready=ready, started=isinstance(state, Running))


def state_of(*main: ContainerRecord, init: tuple[ContainerRecord, ...] = (), **more: Any) -> PodState:
    return replace(PodState(init, main, "10.213.4.2", "10.213.0.2", NOW, ending=False), **more)


def conditions(subject: Pod, state: PodState) -> dict[str, str]:
    return {each["type"]: each["status"] for each in derive_status(subject, state, NOW, {})["conditions"]}


@pytest.mark.parametrize(
    ("policy", "states", "phase"),
    [
        ("Always", [CREATING, RUNNING], "Pending"),
        ("Always", [RUNNING, RUNNING], "Running"),
        ("Always", [ended(0)], "Running"),
        ("Never", [ended(0), ended(0)], "Succeeded"),
        ("Never", [ended(0), ended(1)], "Failed"),
        ("Never", [ended(0), RUNNING], "Running"),
        ("OnFailure", [ended(1)], "Running"),
        ("OnFailure", [ended(0)], "Succeeded"),
    ],
)
def test_the_phase_follows_the_containers(policy: str, states: list[State], phase: str) -> None:
    subject = pod({"restartPolicy": policy})
    assert derive_phase(subject, state_of(*(record(state) for state in states))) == phase


def test_a_container_that_waits_to_be_restarted_keeps_the_pod_running() -> None:
    waiting = record(Waiting("CrashLoopBackOff"), last=ended(1))
    assert derive_phase(pod(), state_of(waiting)) == "Running"


def test_init_containers_hold_the_pod_back_until_they_have_succeeded() -> None:
    main = record(CREATING)
    assert derive_phase(pod(), state_of(main, init=(record(RUNNING),))) == "Pending"
    assert conditions(pod(), state_of(main, init=(record(RUNNING),)))["Initialized"] == "False"
    done = state_of(record(RUNNING, ready=True), init=(record(ended(0)),))
    assert conditions(pod(), done)["Initialized"] == "True"
    assert conditions(pod(), done)["Ready"] == "True"


def test_a_failed_init_container_fails_a_pod_that_is_never_restarted() -> None:
    assert (
        derive_phase(pod({"restartPolicy": "Never"}), state_of(record(CREATING), init=(record(ended(1)),)))
        == "Failed"
    )


def test_a_sidecar_counts_for_readiness_and_not_for_the_phase() -> None:
    side = record(RUNNING, sidecar=True)
    state = state_of(record(RUNNING, ready=True), init=(side,))
    assert derive_phase(pod(), state) == "Running"
    assert conditions(pod(), state)["Ready"] == "False"


def test_a_pod_has_ended_only_when_its_sidecars_have() -> None:
    subject, done = pod({"restartPolicy": "Never"}), record(ended(0))
    assert derive_phase(subject, state_of(done, init=(record(RUNNING, sidecar=True),))) == "Running"
    assert derive_phase(subject, state_of(done, init=(record(ended(137), sidecar=True),))) == "Succeeded"


def test_an_ending_pod_is_not_ready_though_its_containers_are() -> None:
    told = conditions(pod(), state_of(record(RUNNING, ready=True), ending=True))
    assert (told["ContainersReady"], told["Ready"]) == ("True", "False")


def test_readiness_waits_for_the_gates() -> None:
    subject = pod({"readinessGates": [{"conditionType": "mesh/joined"}]})
    assert conditions(subject, state_of(record(RUNNING, ready=True)))["Ready"] == "False"


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    earlier = {
        "Ready": ("True", "2020-01-01T00:00:00Z"),
        "ContainersReady": ("False", "2020-01-01T00:00:00Z"),
    }
    status = derive_status(pod(), state_of(record(RUNNING, ready=True)), NOW + timedelta(days=1), earlier)
    times = {each["type"]: each["lastTransitionTime"] for each in status["conditions"]}
    assert (times["Ready"], times["ContainersReady"]) == ("2020-01-01T00:00:00Z", "2026-01-03T03:04:05Z")


def test_container_states_are_told_as_a_kubelet_does() -> None:
    crashed = ContainerRecord(
        Container(name="c", image="i"), Waiting("CrashLoopBackOff", "back-off"), last=ended(3), restarts=2
    )
    [told] = derive_status(pod(), state_of(crashed), NOW, {})["containerStatuses"]
    assert told["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    assert told["lastState"]["terminated"]["exitCode"] == 3
    assert told["restartCount"] == 2


def test_a_refused_pod_has_failed_and_says_why() -> None:
    status = derive_status(pod(), state_of(record(CREATING), refused="spec.hostNetwork: no"), NOW, {})
    assert (status["phase"], status["message"]) == ("Failed", "spec.hostNetwork: no")
