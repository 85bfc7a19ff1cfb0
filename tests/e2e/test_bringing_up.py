"""Labs come and go, and leave nothing."""

import json
import os
import signal
import subprocess
import sys

import pytest

from isthmus.lab.down import take_down
from isthmus.lab.plan import STATE
from tests.e2e.commands import isthmus, kubectl, lab
from tests.e2e.machine import Traces, assert_nothing_left, lab_processes, traces


@pytest.fixture
def bare(machine: None) -> Traces:
    """The machine without a lab."""
    take_down()
    return traces()


def test_down_leaves_nothing(bare: Traces) -> None:
    lab("up", "--clusters", "solo")
    processes = lab_processes()
    assert len(processes) >= 3
    assert "up already" in lab("up", "--clusters", "solo")
    assert "solo" in isthmus("lab", "up", "--clusters", "other").stderr
    (cluster,) = json.loads(lab("status", "-o", "json"))["clusters"]
    assert cluster["processes"] == {"apiserver": True, "controllers": True, "node": True}
    shell = (
        'eval "$("$0" -m isthmus.cli.main lab env solo)"; echo $KUBECONFIG; kubectl get ns -o name; helm ls'
    )
    bare_shell = {"PATH": "/usr/bin:/bin", "HOME": str(STATE)}
    said = subprocess.run(
        ["/bin/sh", "-ec", shell, sys.executable], capture_output=True, text=True, env=bare_shell, timeout=60
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith(f"{STATE}/solo/kubeconfig\n")
    assert "namespace/kube-system" in said.stdout
    lab("down")
    assert_nothing_left(bare, processes)
    lab("down")


def kill_all() -> None:
    for process in lab_processes():
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def test_what_was_killed_is_started_again_or_taken_down_whole(bare: Traces) -> None:
    lab("up", "--clusters", "solo")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "sleeper"},
        "spec": {"containers": [{"name": "a", "image": "isthmus/client", "command": ["sleep", "infinity"]}]},
    }
    kubectl("solo", "apply", "-f", "-", text=json.dumps(pod))
    kubectl("solo", "wait", "--for=condition=Ready", "pod/sleeper", "--timeout=30s")
    processes = lab_processes()
    assert any("sleep infinity" in process.command for process in processes)
    kill_all()
    assert "Cluster solo: apiserver, controllers, node had died" in lab("up", "--clusters", "solo")
    again = "--for=jsonpath={.status.containerStatuses[0].restartCount}=1"
    kubectl("solo", "wait", again, "pod/sleeper", "--timeout=30s")
    processes += lab_processes()
    kill_all()
    lab("down")
    assert_nothing_left(bare, processes)


def test_interrupted_up_leaves_nothing(bare: Traces) -> None:
    command = [sys.executable, "-m", "isthmus.cli.main", "lab", "up"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as up:
        while not (STATE / "west" / "plan.json").exists() and up.poll() is None:
            pass
        up.send_signal(signal.SIGINT)
        assert up.wait(30) != 0
    assert_nothing_left(bare, [])


@pytest.mark.parametrize("names", ["West", "a,a", "a..b", "", "x" * 40])
def test_bad_cluster_names_are_refused(names: str) -> None:
    done = isthmus("lab", "up", "--clusters", names)
    assert done.returncode == 2
    assert "name" in done.stderr
    assert "Traceback" not in done.stderr
