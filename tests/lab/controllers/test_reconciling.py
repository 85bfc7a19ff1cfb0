"""The controllers against the lab's own API server; nodes are played by the tests."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from isthmus.kube.client import Client, running_client
from isthmus.kube.errors import ApiError
from isthmus.kube.kinds import Kind, untyped
from isthmus.kube.watch import Event, Removed, Synced, Upserted, watch_kind
from isthmus.lab import pki
from isthmus.lab.apiserver.server import running_api_server
from isthmus.lab.controllers.objects import Object, entries, is_terminating
from isthmus.lab.controllers.wiring import running_controllers
from isthmus.lib.lifecycle import TaskScope, task_scope

NAMESPACE = untyped("", "v1", "namespaces", "Namespace", namespaced=False)
DEPLOYMENT = untyped("apps", "v1", "deployments", "Deployment")
REPLICA_SET = untyped("apps", "v1", "replicasets", "ReplicaSet")
POD = untyped("", "v1", "pods", "Pod")
SERVICE = untyped("", "v1", "services", "Service")
ENDPOINTS = untyped("", "v1", "endpoints", "Endpoints")
SLICE = untyped("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
CONFIG_MAP = untyped("", "v1", "configmaps", "ConfigMap")
SERVICE_ACCOUNT = untyped("", "v1", "serviceaccounts", "ServiceAccount")
LABELS = {"app": "echo"}


class Seen:
    """All objects of one kind, as a watch has shown them."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.changed = asyncio.Event()

    def deliver(self, event: "Event[Object]") -> None:
        match event:
            case Upserted(found):
                self.objects[found["metadata"]["uid"]] = found
            case Removed(gone):
                self.objects.pop(gone["metadata"]["uid"], None)
            case Synced():
                pass
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass
class World:
    client: Client
    scope: TaskScope

    async def until(
        self, kind: "Kind[Object]", condition: Callable[[list[Object]], object], namespace: str = "demo"
    ) -> list[Object]:
        """Watch until the objects of a kind in a namespace are as wanted."""
        seen = Seen()
        watch = self.scope.serve(
            watch_kind(self.client, kind, seen.deliver, namespace=namespace), name="test watch"
        )
        try:
            async with asyncio.timeout(10):
                while not condition(list(seen.objects.values())):
                    await seen.changed.wait()
        except TimeoutError:
            raise AssertionError(list(seen.objects.values())) from None
        finally:
            watch.cancel()
        return list(seen.objects.values())

    async def play_node(self) -> None:
        """Every Pod runs and is ready at once; a deleted one is gone at once."""
        numbers = iter(range(1, 250))

        def deliver(event: "Event[Object]") -> None:
            if isinstance(event, Upserted):
                pod = event.object
                if is_terminating(pod):
                    self.scope.spawn(self.remove(pod), name="remove pod")
                elif "podIP" not in pod.get("status", {}):
                    self.scope.spawn(self.make_ready(pod, f"10.1.0.{next(numbers)}"), name="ready pod")

        await watch_kind(self.client, POD, deliver)

    async def make_ready(self, pod: Object, ip: str, *, ready: bool = True) -> None:
        metadata = pod["metadata"]
        condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}
        status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [condition]}
        try:
            await self.client.patch(
                POD, metadata["name"], {"status": status}, metadata["namespace"], subresource="status"
            )
        except ApiError as error:
            if error.status != 404:
                raise

    async def remove(self, pod: Object) -> None:
        metadata = pod["metadata"]
        try:
            await self.client.delete(POD, metadata["name"], metadata["namespace"], grace_seconds=0)
        except ApiError as error:
            if error.status != 404:
                raise


@pytest.fixture
async def world() -> AsyncGenerator[World]:
    async with (
        running_api_server() as server,
        running_controllers(server.access(pki.CONTROLLERS)),
        running_client(server.access()) as client,
        task_scope() as scope,
    ):
        await client.create(NAMESPACE, {"metadata": {"name": "demo"}})
        world = World(client, scope)
        await world.until(SERVICE_ACCOUNT, lambda found: found)
        yield world


def deployment(*, replicas: int = 2, image: str = "one", **spec: Any) -> Object:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "a", "image": image}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "echo", "namespace": "demo"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "template": template,
            **spec,
        },
    }


def service(**spec: Any) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "echo", "namespace": "demo"},
        "spec": {"ports": ports, **spec},
    }


def status_is(**wanted: int) -> Callable[[list[Object]], bool]:
    return lambda found: bool(found) and wanted.items() <= found[0].get("status", {}).items()


def addresses(slices: Iterable[Object]) -> dict[str, bool]:
    return {
        each["addresses"][0]: each["conditions"]["ready"]
        for one in slices
        for each in entries(one, "endpoints")
    }


async def test_deployment_becomes_available_and_scales(world: World) -> None:
    world.scope.serve(world.play_node(), name="node")
    await world.client.create(DEPLOYMENT, deployment())
    await world.until(DEPLOYMENT, status_is(availableReplicas=2, updatedReplicas=2, observedGeneration=1))
    await world.client.patch(DEPLOYMENT, "echo", {"spec": {"replicas": 5}}, "demo")
    await world.until(DEPLOYMENT, status_is(availableReplicas=5))
    await world.client.patch(DEPLOYMENT, "echo", {"spec": {"replicas": 1}}, "demo")
    await world.until(DEPLOYMENT, status_is(availableReplicas=1, replicas=1))
    assert len(await world.until(POD, lambda found: len(found) == 1)) == 1


async def test_new_template_replaces_every_pod(world: World) -> None:
    world.scope.serve(world.play_node(), name="node")
    await world.client.create(DEPLOYMENT, deployment(replicas=3))
    await world.until(DEPLOYMENT, status_is(availableReplicas=3))
    spec = deployment(replicas=3, image="two")["spec"]
    await world.client.patch(DEPLOYMENT, "echo", {"spec": spec}, "demo")
    (found,) = await world.until(
        DEPLOYMENT, status_is(availableReplicas=3, updatedReplicas=3, replicas=3, observedGeneration=2)
    )
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    pods = await world.until(POD, lambda pods: len(pods) == 3)
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {"two"}
    sizes = {each["metadata"]["annotations"]["deployment.kubernetes.io/revision"]: each["spec"]["replicas"]
             for each in await world.until(REPLICA_SET, lambda sets: len(sets) == 2)}  # fmt: skip
    assert sizes == {"1": 0, "2": 3}


async def test_recreating_waits_until_the_old_pods_are_gone(world: World) -> None:
    await world.client.create(DEPLOYMENT, deployment(replicas=1, strategy={"type": "Recreate"}))
    (old,) = await world.until(POD, lambda found: len(found) == 1)
    await world.client.patch(
        POD, old["metadata"]["name"], {"metadata": {"finalizers": ["test/wait"]}}, "demo"
    )
    spec = deployment(replicas=1, image="two", strategy={"type": "Recreate"})["spec"]
    await world.client.patch(DEPLOYMENT, "echo", {"spec": spec}, "demo")
    (pod,) = await world.until(POD, lambda found: found and all(is_terminating(pod) for pod in found))
    await world.client.patch(POD, pod["metadata"]["name"], {"metadata": {"finalizers": []}}, "demo")
    (new,) = await world.until(POD, lambda found: found and not any(is_terminating(pod) for pod in found))
    assert new["spec"]["containers"][0]["image"] == "two"


async def test_matching_pod_without_an_owner_is_adopted(world: World) -> None:
    pod = {"metadata": {"name": "orphan", "labels": LABELS}, "spec": deployment()["spec"]["template"]["spec"]}
    await world.client.create(POD, pod, "demo")
    replica_set: Object = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "adopter"},
        "spec": deployment(replicas=1)["spec"],
    }
    await world.client.create(REPLICA_SET, replica_set, "demo")
    await world.until(REPLICA_SET, status_is(replicas=1))
    (adopted,) = await world.until(POD, lambda found: len(found) == 1)
    assert adopted["metadata"]["ownerReferences"][0]["name"] == "adopter"


async def test_service_has_the_endpoints_of_its_pods(world: World) -> None:
    world.scope.serve(world.play_node(), name="node")
    await world.client.create(SERVICE, service(selector=LABELS))
    await world.client.create(DEPLOYMENT, deployment(replicas=3))
    slices = await world.until(SLICE, lambda found: len(addresses(found)) == 3)
    assert all(addresses(slices).values())
    (one,) = slices
    assert one["metadata"]["labels"]["kubernetes.io/service-name"] == "echo"
    assert one["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    (found,) = await world.until(
        ENDPOINTS, lambda all_: all_ and len(all_[0].get("subsets", [{}])[0].get("addresses", [])) == 3
    )
    assert found["metadata"]["name"] == "echo"
    await world.client.delete(SERVICE, "echo", "demo")
    await world.until(SLICE, lambda found: not found)
    await world.until(ENDPOINTS, lambda found: not found)


async def test_unready_pod_is_an_unready_endpoint(world: World) -> None:
    await world.client.create(SERVICE, service(selector=LABELS))
    await world.client.create(DEPLOYMENT, deployment(replicas=1))
    (pod,) = await world.until(POD, lambda found: len(found) == 1)
    await world.make_ready(pod, "10.1.0.9", ready=False)
    await world.until(SLICE, lambda found: addresses(found) == {"10.1.0.9": False})
    await world.make_ready(pod, "10.1.0.9")
    await world.until(SLICE, lambda found: addresses(found) == {"10.1.0.9": True})


async def test_endpoints_without_a_selector_are_mirrored(world: World) -> None:
    ports = [{"name": "grpc-xds", "port": 15010, "protocol": "TCP"}]
    await world.client.create(SERVICE, service(clusterIP="None"))
    endpoints: Object = {
        "metadata": {"name": "echo"},
        "subsets": [{"addresses": [{"ip": "10.9.0.1"}], "ports": ports}],
    }
    await world.client.create(ENDPOINTS, endpoints, "demo")
    (one,) = await world.until(SLICE, lambda found: addresses(found) == {"10.9.0.1": True})
    assert one["ports"] == ports
    changed = {"subsets": [{"addresses": [{"ip": "10.9.0.2"}], "ports": ports}]}
    await world.client.patch(ENDPOINTS, "echo", changed, "demo")
    await world.until(SLICE, lambda found: addresses(found) == {"10.9.0.2": True})
    both = {"subsets": [{"addresses": [{"ip": "10.9.0.2"}, {"ip": "fd00::2"}], "ports": ports}]}
    await world.client.patch(ENDPOINTS, "echo", both, "demo")
    slices = await world.until(SLICE, lambda found: addresses(found) == {"10.9.0.2": True, "fd00::2": True})
    assert {each["addressType"] for each in slices} == {"IPv4", "IPv6"}
    await world.client.delete(ENDPOINTS, "echo", "demo")
    await world.until(SLICE, lambda found: not found)


async def test_deployment_takes_its_pods_along(world: World) -> None:
    world.scope.serve(world.play_node(), name="node")
    await world.client.create(DEPLOYMENT, deployment())
    await world.until(POD, lambda found: len(found) == 2)
    await world.client.delete(DEPLOYMENT, "echo", "demo")
    await world.until(REPLICA_SET, lambda found: not found)
    await world.until(POD, lambda found: not found)


async def test_every_namespace_has_its_root_ca_and_ends_empty(world: World) -> None:
    world.scope.serve(world.play_node(), name="node")
    (config_map,) = await world.until(CONFIG_MAP, lambda found: len(found) == 1)
    assert config_map["metadata"]["name"] == "kube-root-ca.crt"
    assert config_map["data"]["ca.crt"].startswith("-----BEGIN CERTIFICATE-----")
    await world.client.delete(CONFIG_MAP, "kube-root-ca.crt", "demo")
    await world.until(
        CONFIG_MAP, lambda found: found and found[0]["metadata"]["uid"] != config_map["metadata"]["uid"]
    )
    await world.client.create(DEPLOYMENT, deployment())
    await world.until(POD, lambda found: len(found) == 2)
    await world.client.delete(NAMESPACE, "demo")
    await world.until(
        NAMESPACE, lambda found: found and "demo" not in [each["metadata"]["name"] for each in found], ""
    )
    with pytest.raises(ApiError, match="NotFound"):
        await world.client.get(DEPLOYMENT, "echo", "demo")


async def test_what_a_custom_kind_owns_goes_with_it_whenever_it_was_defined(world: World) -> None:
    names = {"plural": "gadgets", "kind": "Gadget"}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    definition = {
        "metadata": {"name": "gadgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    crd = untyped("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CRD", namespaced=False)
    gadget = untyped("example.com", "v1", "gadgets", "Gadget")
    await world.client.create(crd, definition)
    owners = [await world.client.create(gadget, {"metadata": {"name": n}}, "demo") for n in ("a", "b", "c")]
    for owner in owners:
        name, uid = owner["metadata"]["name"], owner["metadata"]["uid"]
        reference = {"apiVersion": "example.com/v1", "kind": "Gadget", "name": name, "uid": uid}
        blocking = {**reference, "blockOwnerDeletion": True}
        meta = {"name": f"of-{name}", "ownerReferences": [blocking]}
        await world.client.create(CONFIG_MAP, {"metadata": meta}, "demo")

    async def delete(name: str, policy: str) -> None:
        body = {"propagationPolicy": policy}
        await world.client.request("DELETE", gadget.path("demo", name), body=body)

    def left(found: list[Object]) -> set[str]:
        return {each["metadata"]["name"] for each in found if each["metadata"]["name"].startswith("of-")}

    def owned(item: Object) -> bool:
        return bool(entries(item, "metadata", "ownerReferences"))

    await delete("a", "Background")
    await world.until(CONFIG_MAP, lambda found: left(found) == {"of-b", "of-c"})
    await delete("b", "Foreground")
    await world.until(CONFIG_MAP, lambda found: left(found) == {"of-c"})
    await world.until(gadget, lambda found: [each["metadata"]["name"] for each in found] == ["c"])
    await delete("c", "Orphan")
    await world.until(CONFIG_MAP, lambda found: [each for each in found if left([each]) and not owned(each)])
    last = await world.client.create(gadget, {"metadata": {"name": "d"}}, "demo")
    reference = {
        "apiVersion": "example.com/v1",
        "kind": "Gadget",
        "name": "d",
        "uid": last["metadata"]["uid"],
    }
    meta = {"name": "of-d", "ownerReferences": [reference]}
    await world.client.create(CONFIG_MAP, {"metadata": meta}, "demo")
    await world.client.delete(crd, "gadgets.example.com")
    await world.until(CONFIG_MAP, lambda found: left(found) == {"of-c"})
