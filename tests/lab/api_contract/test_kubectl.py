"""The real kubectl against the server: what a person types works, and says what it says everywhere."""

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus.lab import pki
from isthmus.lib.binaries import find_kubectl
from tests.lab.api_contract.api import Api, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str


Kubectl = Callable[..., Coroutine[Any, Any, Said]]


@pytest.fixture
def kubectl(api: Api, tmp_path: Path) -> Kubectl:
    """Run kubectl as the administrator; `stdin` is text, or objects that are sent as YAML."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(pki.kubeconfig(api.files, pki.ADMIN, cluster="test", server=api.url))
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(kubeconfig)}

    async def run(*arguments: str, stdin: Any = "") -> Said:
        process = await asyncio.create_subprocess_exec(
            str(find_kubectl()),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        text = stdin if isinstance(stdin, str) else yaml.safe_dump_all(stdin)
        out, err = await process.communicate(text.encode())
        assert process.returncode is not None
        return Said(process.returncode, out.decode(), err.decode())

    return run


def _deployment(namespace: str, image: str) -> dict[str, Any]:
    labels = {"app": "web"}
    container = {"name": "web", "image": image, "ports": [{"containerPort": 8080}]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
    }


async def test_apply_creates_changes_and_leaves_alone(api: Api, kubectl: Kubectl) -> None:
    namespace = (await api.namespace()).rpartition("/")[2]
    for image, word in (("web:1", "created"), ("web:2", "configured"), ("web:2", "unchanged")):
        said = await kubectl("apply", "-f", "-", stdin=[_deployment(namespace, image)])
        assert said.out == f"deployment.apps/web {word}\n", said.err
    said = await kubectl("get", "deploy", "web", "-n", namespace, "-o", "json")
    found = json.loads(said.out)
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "web:2"
    assert found["metadata"]["generation"] == 2


async def test_typed_commands_create_objects(api: Api, kubectl: Kubectl) -> None:
    namespace = (await api.namespace()).rpartition("/")[2]
    for arguments in (
        ("configmap", "one", "--from-literal=a=b"),
        ("secret", "generic", "one", "--from-literal=password=hidden"),
        ("service", "clusterip", "one", "--tcp=80:8080"),
        ("deployment", "one", "--image=example/app"),
        ("job", "one", "--image=example/app"),
        ("role", "one", "--verb=get,list", "--resource=pods"),
        ("rolebinding", "one", "--role=one", "--user=ann"),
    ):
        said = await kubectl("create", *arguments, "-n", namespace)
        assert said.code == 0, said.err
        assert said.out.endswith("/one created\n")
    said = await kubectl("get", "secret", "one", "-n", namespace, "-o", "jsonpath={.data.password}")
    assert said.out == "aGlkZGVu"


async def test_get_prints_tables_and_describe_prints_all(api: Api, kubectl: Kubectl) -> None:
    namespace = (await api.namespace()).rpartition("/")[2]
    await kubectl("run", "one", "--image=example/app:1", "--port=80", "-n", namespace)
    said = await kubectl("get", "pods", "-n", namespace)
    header, row = said.out.splitlines()
    assert header.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert row.split()[:4] == ["one", "0/1", "Pending", "0"]
    described = (await kubectl("describe", "pod", "one", "-n", namespace)).out
    assert "Service Account:  default" in described
    assert "Image:        example/app:1" in described


async def test_labels_annotations_and_waits(api: Api, kubectl: Kubectl) -> None:
    namespace = (await api.namespace()).rpartition("/")[2]
    await kubectl("create", "configmap", "one", "-n", namespace)
    assert (await kubectl("label", "cm", "one", "a=b", "-n", namespace)).out == "configmap/one labeled\n"
    assert (await kubectl("annotate", "cm", "one", "c=d", "-n", namespace)).code == 0
    refused = await kubectl("label", "cm", "one", "a=z", "-n", namespace)
    assert "already has a value (b), and --overwrite is false" in refused.err
    wait = ("wait", "cm/one", "--for=jsonpath={.metadata.annotations.c}=d", "--timeout=5s", "-n", namespace)
    assert (await kubectl(*wait)).out == "configmap/one condition met\n"


async def test_delete_waits_until_the_object_is_gone(api: Api, kubectl: Kubectl) -> None:
    namespace = (await api.namespace()).rpartition("/")[2]
    await kubectl("create", "configmap", "one", "-n", namespace)
    async with asyncio.TaskGroup() as group:
        wait = ("wait", "--for=delete", "cm/one", "--timeout=10s", "-n", namespace)
        waiting = group.create_task(kubectl(*wait))
        said = await kubectl("delete", "cm", "one", "-n", namespace)
    assert said.out.startswith('configmap "one" deleted')
    assert waiting.result().code == 0
    missing = await kubectl("get", "cm", "one", "-n", namespace)
    assert missing.err == 'Error from server (NotFound): configmaps "one" not found\n'
    assert missing.code == 1


async def test_errors_read_as_they_do_everywhere(api: Api, kubectl: Kubectl) -> None:
    namespace = (await api.namespace()).rpartition("/")[2]
    body = _deployment(namespace, "web:1")
    body["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    said = await kubectl("create", "-f", "-", stdin=[body])
    assert said.err.startswith(
        'The Deployment "web" is invalid: spec.template.metadata.labels: Invalid value'
    )
    mistyped = _deployment(namespace, "web:1")
    mistyped["spec"]["replica"] = 3
    said = await kubectl("apply", "-f", "-", stdin=[mistyped])
    assert 'strict decoding error: unknown field "spec.replica"' in said.err
    await kubectl("create", "cm", "one", "-n", namespace)
    said = await kubectl("create", "cm", "one", "-n", namespace)
    assert said.err == 'error: failed to create configmap: configmaps "one" already exists\n'


async def test_rights_can_be_asked_for_oneself_and_for_others(kubectl: Kubectl) -> None:
    assert (await kubectl("auth", "can-i", "delete", "nodes")).out == "yes\n"
    denied = await kubectl("auth", "can-i", "delete", "nodes", "--as=joe")
    assert (denied.out, denied.code) == ("no\n", 1)
    assert "kubernetes-admin" in (await kubectl("auth", "whoami")).out


async def test_scaling_and_rolling_out_change_the_deployment(api: Api, kubectl: Kubectl) -> None:
    namespace = (await api.namespace()).rpartition("/")[2]
    await kubectl("apply", "-f", "-", stdin=[_deployment(namespace, "web:1")])
    assert (await kubectl("scale", "deploy/web", "--replicas=5", "-n", namespace)).code == 0
    assert (await kubectl("set", "image", "deploy/web", "web=web:3", "-n", namespace)).code == 0
    assert (await kubectl("rollout", "restart", "deploy/web", "-n", namespace)).code == 0
    found = json.loads((await kubectl("get", "deploy", "web", "-n", namespace, "-o", "json")).out)
    assert found["spec"]["replicas"] == 5
    template = found["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == "web:3"
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]


async def test_server_side_apply_takes_over_what_was_applied_from_the_client(
    api: Api, kubectl: Kubectl
) -> None:
    namespace = (await api.namespace()).rpartition("/")[2]
    await kubectl("apply", "-f", "-", stdin=[_deployment(namespace, "web:1")])
    said = await kubectl("apply", "--server-side", "-f", "-", stdin=[_deployment(namespace, "web:2")])
    assert said.out == "deployment.apps/web serverside-applied\n", said.err
    shown = ("get", "deploy", "web", "-n", namespace, "-o", "json", "--show-managed-fields")
    meta = json.loads((await kubectl(*shown)).out)["metadata"]
    owners = {(one["manager"], one["operation"]) for one in meta["managedFields"]}
    assert owners == {("kubectl", "Apply"), ("kubectl-last-applied", "Apply")}
    other = ("apply", "--server-side", "--field-manager=other", "-f", "-")
    refused = await kubectl(*other, stdin=[_deployment(namespace, "web:3")])
    assert (
        'Apply failed with 1 conflict: conflict with "kubectl": '
        '.spec.template.spec.containers[name="web"].image' in refused.err
    )
    forced = await kubectl(*other, "--force-conflicts", stdin=[_deployment(namespace, "web:3")])
    assert forced.code == 0


async def test_explain_describes_built_in_and_custom_kinds(api: Api, kubectl: Kubectl) -> None:
    ports = (await kubectl("explain", "deployment.spec.template.spec.containers.ports")).out
    assert "FIELD: ports <[]ContainerPort>" in ports
    assert "containerPort\t<integer>" in ports
    size = {"type": "integer", "description": "How large it is."}
    spec = {"type": "object", "properties": {"size": size}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.explained.example.com"},
        "spec": {
            "group": "explained.example.com",
            "scope": "Namespaced",
            "names": {"plural": "gadgets", "kind": "Gadget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    await kubectl("create", "-f", "-", stdin=[definition])
    wait = ("wait", "--for=condition=Established", "crd/gadgets.explained.example.com", "--timeout=10s")
    assert (await kubectl(*wait)).code == 0

    async def explained() -> bool:
        return "How large it is." in (await kubectl("explain", "gadget.spec.size")).out

    await eventually(explained)
    namespace = (await api.namespace()).rpartition("/")[2]
    gadget = {"apiVersion": "explained.example.com/v1", "kind": "Gadget", "metadata": {"name": "one"}}
    mistyped = [{**gadget, "spec": {"sise": 1}}]
    refused = await kubectl("apply", "-n", namespace, "-f", "-", stdin=mistyped)
    assert 'strict decoding error: unknown field "spec.sise"' in refused.err
    said = await kubectl("apply", "-n", namespace, "-f", "-", stdin=[{**gadget, "spec": {"size": 1}}])
    assert said.out == "gadget.explained.example.com/one created\n", said.err


async def test_looking_around_and_planning_changes(api: Api, kubectl: Kubectl) -> None:
    namespace = (await api.namespace()).rpartition("/")[2]
    known = (await kubectl("api-resources", "--no-headers", "-o", "wide", "--namespaced")).out
    assert ["deployments", "deploy", "apps/v1", "true", "Deployment"] in [
        line.split()[:5] for line in known.splitlines()
    ]
    rights = (await kubectl("auth", "can-i", "--list", "-n", namespace)).out
    assert ["*.*", "[]", "[]", "[*]"] in [line.split() for line in rights.splitlines()]
    top = await kubectl("top", "pods", "-n", namespace)
    assert (top.code, top.err) == (1, "error: Metrics API not available\n")
    web = _deployment(namespace, "web:1")
    await kubectl("apply", "-f", "-", stdin=[web])
    web["spec"]["replicas"] = 5
    planned = await kubectl("diff", "-f", "-", stdin=[web])
    assert planned.code == 1, planned.err
    assert {"-  replicas: 2", "+  replicas: 5"} <= set(planned.out.splitlines())
    assert (await kubectl("rollout", "pause", "deploy/web", "-n", namespace)).out == (
        "deployment.apps/web paused\n"
    )
    uid = (await kubectl("get", "deploy", "web", "-n", namespace, "-o", "jsonpath={.metadata.uid}")).out
    about = {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": namespace, "name": "web", "uid": uid}
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "web.1", "namespace": namespace},
        "involvedObject": about,
        "reason": "Paused",
        "message": "Nothing rolls.",
        "type": "Normal",
        "lastTimestamp": "2026-01-02T03:04:05Z",
    }
    assert (await kubectl("create", "-f", "-", stdin=[event])).code == 0
    told = (await kubectl("events", "--for", "deploy/web", "-n", namespace, "--no-headers")).out
    assert told.split()[1:] == ["Normal", "Paused", "Deployment/web", "Nothing", "rolls."]
