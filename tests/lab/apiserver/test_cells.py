from typing import Any

import pytest

from isthmus.lab.apiserver import cells
from isthmus.lab.apiserver.objects import Object

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (119, "119s"),
        (2 * _MINUTE, "2m"),
        (2 * _MINUTE + 5, "2m5s"),
        (10 * _MINUTE + 5, "10m"),
        (3 * _HOUR, "3h"),
        (7 * _HOUR + 59 * _MINUTE, "7h59m"),
        (8 * _HOUR + _MINUTE, "8h"),
        (2 * _DAY, "2d"),
        (7 * _DAY + 3 * _HOUR, "7d3h"),
        (8 * _DAY + 3 * _HOUR, "8d"),
        (2 * _YEAR + _DAY, "2y1d"),
        (9 * _YEAR, "9y"),
    ],
)
def test_durations_get_coarser_as_they_get_longer(seconds: int, shown: str) -> None:
    assert cells.human_duration(seconds) == shown


def _pod(phase: str, *statuses: Object, **more: Any) -> Object:
    status = {"phase": phase, "containerStatuses": list(statuses), **more.pop("status", {})}
    containers = [{"name": f"c{index}"} for index in range(max(1, len(statuses)))]
    return {
        "metadata": more.pop("metadata", {}),
        "spec": {"containers": containers, **more},
        "status": status,
    }


def _running(*, ready: bool) -> Object:
    return {"ready": ready, "state": {"running": {}}, "restartCount": 0}


def _waiting(reason: str) -> Object:
    return {"ready": False, "state": {"waiting": {"reason": reason}}}


def _ended(code: int, reason: str = "") -> Object:
    return {"ready": False, "state": {"terminated": {"exitCode": code, "reason": reason}}}


@pytest.mark.parametrize(
    ("pod", "shown"),
    [
        (_pod("Pending"), "Pending"),
        (_pod("Running", _running(ready=True)), "Running"),
        (_pod("Running", _waiting("CrashLoopBackOff"), _running(ready=True)), "CrashLoopBackOff"),
        (_pod("Failed", _ended(1, "Error")), "Error"),
        (_pod("Failed", _ended(7)), "ExitCode:7"),
        (_pod("Failed", status={"reason": "Evicted"}), "Evicted"),
        (_pod("Running", _ended(0, "Completed"), _running(ready=True)), "NotReady"),
        (_pod("Running", _running(ready=True), metadata={"deletionTimestamp": "x"}), "Terminating"),
        (_pod("Succeeded", _ended(0, "Completed"), metadata={"deletionTimestamp": "x"}), "Completed"),
        (
            _pod(
                "Pending", initContainers=[{"name": "i"}], status={"initContainerStatuses": [{"name": "i"}]}
            ),
            "Init:0/1",
        ),
        (
            _pod(
                "Pending",
                initContainers=[{"name": "i"}],
                status={"initContainerStatuses": [{"name": "i", **_waiting("ImagePullBackOff")}]},
            ),
            "Init:ImagePullBackOff",
        ),
        (
            _pod(
                "Running",
                _running(ready=True),
                initContainers=[{"name": "i"}],
                status={"initContainerStatuses": [{"name": "i", **_ended(0)}]},
            ),
            "Running",
        ),
    ],
)
def test_a_pods_status_is_its_most_telling_word(pod: Object, shown: str) -> None:
    assert cells.pod_status(pod) == shown


def test_sidecars_among_init_containers_count_as_ready_containers() -> None:
    sidecar = {"name": "proxy", "restartPolicy": "Always"}
    status = {"initContainerStatuses": [{"name": "proxy", "ready": True}]}
    pod = _pod("Running", _running(ready=True), initContainers=[sidecar], status=status)
    assert cells.pod_ready(pod) == "2/2"


def test_ports_and_endpoints_are_listed_shortly() -> None:
    ports = [{"port": 80, "protocol": "TCP", "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]
    assert cells.service_ports({"spec": {"ports": ports}}) == "80:30080/TCP,53/UDP"
    addresses = [{"ip": f"10.0.0.{number}"} for number in range(1, 6)]
    endpoints = {"subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]}
    assert cells.endpoints(endpoints) == "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."
    assert cells.endpoints({}) == "<none>"
