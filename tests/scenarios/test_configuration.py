"""PeerAuthentications on their way to the proxies: a definition that comes late, and a bad object."""

import asyncio
from pathlib import Path
from typing import Any

import yaml

from isthmus.kube.kinds import untyped
from isthmus.lab.pki import Identity
from tests.scenarios.mesh import (
    NAMESPACES,
    Mesh,
    Proxy,
    echo_slice,
    eventually,
    proxy_of,
    running_pilot,
    two_clusters,
)

TREE = Path(__file__).parents[2]
CRDS = untyped(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
)
V1 = untyped("security.istio.io", "v1", "peerauthentications", "PeerAuthentication")
V1BETA1 = untyped("security.istio.io", "v1beta1", "peerauthentications", "PeerAuthentication")
ROLES = untyped("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
BINDINGS = untyped(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
PODS = untyped("", "v1", "pods", "Pod")
SLICES = untyped("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
ACCOUNTS = untyped("", "v1", "serviceaccounts", "ServiceAccount")
SERVER: dict[str, Any] = {
    "metadata": {"name": "server", "labels": {"app": "echo", "security.istio.io/tlsMode": "istio"}},
    "spec": {"containers": [{"name": "app", "image": "app"}]},
}


def server_slice(name: str, pod: str) -> dict[str, Any]:
    body = echo_slice(name, "10.1.0.9")
    body["endpoints"][0]["targetRef"] = {"kind": "Pod", "name": pod, "namespace": "demo"}
    return body


async def define(mesh: Mesh) -> None:
    file = TREE / "install/kubernetes/helm/istio/crds/peerauthentication.yaml"
    await mesh.west.api.create(CRDS, yaml.safe_load(file.read_text()))
    await eventually(lambda: mesh.west.api.serves(V1.group, V1.version, V1.plural))


def peers(mode: str) -> dict[str, Any]:
    return {"metadata": {"name": "default"}, "spec": {"mtls": {"mode": mode}}}


async def secured(proxy: Proxy) -> dict[str, bool]:
    """By address whether the next response marks it for mutual TLS."""
    return {
        one.endpoint.address.socket_address.address: one.HasField("metadata") for one in await proxy.members()
    }


async def test_what_servers_accept_decides_how_they_are_called_from_the_moment_it_is_applied(
    tmp_path: Path,
) -> None:
    async with two_clusters() as mesh:
        await mesh.west.serve_echo("10.1.0.1")
        async with running_pilot(mesh.west.server, tmp_path) as pilot, proxy_of(pilot) as proxy:
            assert await secured(proxy) == {"10.1.0.1": False}
            # Its Pod is not there yet: it is not taken for a plain one.
            await mesh.west.api.create(SLICES, server_slice("echo-2", "server"), "demo")
            await mesh.west.api.create(ACCOUNTS, {"metadata": {"name": "default"}}, "demo")
            await mesh.west.api.create(PODS, SERVER, "demo")
            while "10.1.0.9" not in (found := await secured(proxy)):
                pass
            assert found == {"10.1.0.1": False, "10.1.0.9": True}

            await define(mesh)
            await mesh.west.api.create(V1BETA1, peers("DISABLE"), "demo")
            assert await secured(proxy) == {"10.1.0.1": False, "10.1.0.9": False}
            await mesh.west.api.patch(V1, "default", peers("STRICT"), "demo")
            assert await secured(proxy) == {"10.1.0.1": False, "10.1.0.9": True}


async def test_an_object_that_the_api_server_let_pass_is_rejected_by_name_and_the_last_good_one_stays(
    tmp_path: Path,
) -> None:
    async with two_clusters() as mesh:
        await define(mesh)
        await mesh.west.api.create(V1, peers("DISABLE"), "istio-system")
        async with running_pilot(mesh.west.server, tmp_path) as pilot:
            await pilot.xds_port()
            bad = peers("DISABLE")
            bad["spec"]["portLevelMtls"] = {"80": {"mode": "STRICT"}}
            await mesh.west.api.patch(V1, "default", bad, "istio-system")
            line = await eventually(
                lambda: next((x for x in pilot.log if x["event"] == "configuration rejected"), None)
            )
            assert (line["kind"], line["object"], line["field"]) == (
                "PeerAuthentication",
                "istio-system/default",
                "spec.portLevelMtls",
            )
            (row,) = await pilot.page("/debug/configz")
            assert row["spec"] == {"mtls": {"mode": "DISABLE"}}, "what is in force"
            assert (row["metadata"]["name"], row["inForce"], row["rejected"].partition(":")[0]) == (
                "default",
                True,
                "spec.portLevelMtls",
            )
            home = await pilot.cluster("west", lambda row: row["remarks"])
            assert home["remarks"][0].startswith("rejected: PeerAuthentication istio-system/default: spec.")
            _, metrics = await pilot.page("/metrics")
            for state in ("in_force", "rejected"):
                row = f'isthmus_config_objects{{kind="PeerAuthentication",state="{state}"}} 1.0'
                assert row in metrics

            await asyncio.sleep(1.0)  # Kubernetes' times are whole seconds.
            second = peers("STRICT") | {"metadata": {"name": "another"}}
            await mesh.west.api.create(V1, second, "istio-system")
            line = await eventually(
                lambda: next((x for x in pilot.log if x["event"] == "configuration has no effect"), None)
            )
            assert line["object"] == "istio-system/another"
            rows = {row["metadata"]["name"]: row["idle"] for row in await pilot.page("/debug/configz")}
            older = "istio-system/default is older and for the same workloads; delete one of them"
            assert rows == {"another": older, "default": ""}
            assert line["reason"] == older

            async def told(name: str, message: str) -> bool:
                found = await mesh.west.api.get(V1, name, "istio-system")
                conditions: list[dict[str, str]] = found.get("status", {}).get("conditions", [])
                said = [one["message"] for one in conditions if one["status"] == "False"]
                return len(said) == 1 and said[0].startswith(message)

            await eventually(lambda: told("default", "spec.portLevelMtls: "))
            await eventually(lambda: told("another", older))

            await mesh.west.api.create(NAMESPACES, {"metadata": {"name": "demo"}})
            await mesh.west.api.create(ACCOUNTS, {"metadata": {"name": "default"}}, "demo")
            await mesh.west.api.create(PODS, SERVER, "demo")
            (row,) = await eventually(lambda: pilot.page("/debug/mtlsz"))
            assert (row["workload"], row["pods"], row["sidecar"]) == ("server", 1, True)
            assert (row["mode"], row["by"], row["applied"]) == (
                "DISABLE",
                "istio-system/default",
                ["istio-system/default"],
            )


def rights(*groups: str) -> dict[str, Any]:
    rule = {"apiGroups": list(groups), "resources": ["*"], "verbs": ["*"]}
    return {"metadata": {"name": "pilot"}, "rules": [rule]}


async def test_no_proxy_is_answered_while_the_objects_may_not_be_read(tmp_path: Path) -> None:
    async with two_clusters() as mesh:
        await define(mesh)
        most = ("", "discovery.k8s.io", "authentication.k8s.io", "coordination.k8s.io", "policy.isthmus.dev")
        await mesh.west.api.create(ROLES, rights(*most))
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "pilot"}
        binding = {"metadata": {"name": "pilot"}, "roleRef": role}
        await mesh.west.api.create(BINDINGS, binding | {"subjects": [{"kind": "User", "name": "pilot"}]})
        kubeconfig = tmp_path / "limited"
        kubeconfig.write_bytes(mesh.west.server.kubeconfig("west", Identity("pilot")))
        async with running_pilot(kubeconfig, tmp_path) as pilot:

            async def refused() -> bool:
                status, said = await pilot.page("/ready")
                return status == 503 and "PeerAuthentication (403 Forbidden" in said

            await eventually(refused)
            assert not any("xds_port" in line for line in pilot.log)
            await mesh.west.api.patch(ROLES, "pilot", rights(*most, V1.group))
            assert await pilot.xds_port()
