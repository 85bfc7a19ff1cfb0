"""The real kubectl works against the lab."""

import asyncio
import json
import subprocess
import urllib.request

from isthmus.lab.demo.steps import pods_of
from isthmus.lab.plan import STATE
from isthmus.lib.binaries import find_kubectl
from tests.e2e.commands import isthmus, kubectl, lab, pods
from tests.e2e.conftest import Mesh


async def test_pods_are_got_described_and_logged(mesh: Mesh) -> None:
    assert "echo-" in kubectl("east", "get", "pods", "-n", "demo")
    assert "west-node" in kubectl("west", "get", "nodes", "-o", "wide")
    (pilot,) = pods("west", "istio-system", "istio=pilot")
    name, address = pilot["metadata"]["name"], pilot["status"]["podIP"]
    assert address in kubectl("west", "describe", "pod", "-n", "istio-system", name)
    query = ("-n", "istio-system", "-l", "istio=pilot", "-o", "jsonpath={.items[0].status.podIP}")
    assert kubectl("west", "get", "pods", *query) == address
    assert kubectl("west", "logs", "-n", "istio-system", name)
    assert lab("logs", f"west/istio-system/{name}") == kubectl("west", "logs", "-n", "istio-system", name)


async def test_objects_are_created_labelled_applied_and_deleted(mesh: Mesh) -> None:
    kubectl("west", "create", "namespace", "kubectl-test")
    kubectl("west", "label", "namespace", "kubectl-test", "istio-injection=enabled")
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "words", "namespace": "kubectl-test"},
        "data": {"greeting": "hello"},
    }
    kubectl("west", "apply", "-f", "-", text=json.dumps(config_map))
    config_map["data"] = {"greeting": "goodbye"}
    kubectl("west", "apply", "-f", "-", text=json.dumps(config_map))
    found = json.loads(kubectl("west", "get", "configmap", "words", "-n", "kubectl-test", "-o", "json"))
    assert found["data"] == {"greeting": "goodbye"}
    kubectl("west", "create", "secret", "generic", "token", "-n", "kubectl-test", "--from-literal=a=b")
    kubectl("west", "delete", "namespace", "kubectl-test", "--timeout=30s")
    names = kubectl("west", "get", "namespaces", "-o", "name").split()
    assert "namespace/kubectl-test" not in names


async def test_commands_run_in_pods_with_their_exit_codes(mesh: Mesh) -> None:
    (client,) = pods("west", "demo", "app=client")
    where = f"west/demo/{client['metadata']['name']}"
    asked = ("-c", "client", "--", "curl", "-s", "http://echo.demo/")
    for said in (lab("exec", where, *asked), kubectl("west", "exec", "-n", "demo", "deploy/client", *asked)):
        answer = json.loads(said)
        assert answer["cluster"] in ("west", "east")
        assert answer["headers"]["host"] == "echo.demo"
    assert isthmus("lab", "exec", where, "--", "sh", "-c", "exit 7").returncode == 7
    assert "no running container" in isthmus("lab", "exec", "west/demo/nobody", "--", "true").stderr


async def test_ports_are_forwarded_to_pages_that_only_their_own_pod_may_ask(mesh: Mesh) -> None:
    """As docs/identity.md has it: through a forwarded port, the debug pages need no token."""
    shown = await asyncio.to_thread(forwarded_page, "deploy/istio-pilot", "/debug/clusterz")
    assert "west" in shown
    assert "east" in shown


def forwarded_page(workload: str, path: str) -> str:
    words = ["port-forward", "-n", "istio-system", workload, ":8080"]
    command = [str(find_kubectl()), f"--kubeconfig={STATE / 'west' / 'kubeconfig'}", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forwarding:
        assert forwarding.stdout is not None
        port = int(forwarding.stdout.readline().split(" ")[2].rpartition(":")[2])
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as page:
                return page.read().decode()
        finally:
            forwarding.terminate()


async def test_rollout_replaces_every_pod_and_loses_no_request(mesh: Mesh) -> None:
    before = await pods_of(mesh.primary)
    patch = {"spec": {"template": {"metadata": {"annotations": {"rolled": "yes"}}}}}
    await asyncio.to_thread(
        kubectl, "west", "patch", "deployment", "echo", "-n", "demo", "-p", json.dumps(patch)
    )
    status = ("rollout", "status", "deployment/echo", "-n", "demo", "--timeout=60s")
    await asyncio.to_thread(kubectl, "west", *status)
    assert not before & (await mesh.observed.sample(100)).keys()
    await asyncio.to_thread(kubectl, "west", "rollout", "undo", "deployment/echo", "-n", "demo")
    await asyncio.to_thread(kubectl, "west", *status)
    assert mesh.observed.failures() == []
