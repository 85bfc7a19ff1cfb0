"""The real kubectl works against the lab."""

import asyncio
import json

from isthmus.lab.demo.steps import pods_of
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
    answer = json.loads(lab("exec", where, "-c", "client", "--", "curl", "-s", "http://echo.demo/"))
    assert answer["cluster"] in ("west", "east")
    assert answer["headers"]["host"] == "echo.demo"
    assert isthmus("lab", "exec", where, "--", "sh", "-c", "exit 7").returncode == 7
    assert "no running container" in isthmus("lab", "exec", "west/demo/nobody", "--", "true").stderr


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
