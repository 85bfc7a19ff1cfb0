"""`pods/exec`, `attach` and `portforward`, as far as no node is needed: who may, and what is asked for."""

from typing import Any

import pytest

from isthmus.lab.pki import Identity
from tests.lab.api_contract.api import Api, eventually, pod

pytestmark = pytest.mark.asyncio(loop_scope="session")
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Protocol": "v5.channel.k8s.io",
}


async def test_what_cannot_be_entered_is_refused_by_name(api: Api) -> None:
    namespace = await api.namespace()
    two = [{"name": name, "image": "example/app"} for name in ("a", "b")]
    for one in (
        pod("alone"),
        pod("two", containers=two, initContainers=[{"name": "i", "image": "example/app"}]),
        pod("bound", nodeName="nowhere"),
    ):
        made = await api.call("POST", f"{namespace}/pods", one)
        assert made.status == 201, made.body
    for path, status, sentence in (
        ("nobody/exec", 404, 'pods "nobody" not found'),
        ("alone/exec", 400, "pod alone does not have a host assigned"),
        ("alone/attach?container=main", 400, "pod alone does not have a host assigned"),
        ("alone/portforward", 400, "pod alone does not have a host assigned"),
        ("alone/exec?container=x", 400, "container x is not valid for pod alone"),
        (
            "two/exec",
            400,
            "a container name must be specified for pod two, choose one of: [a b]"
            " or one of the init containers: [i]",
        ),
        ("bound/exec", 404, 'nodes "nowhere" not found'),
    ):
        separator = "&" if "?" in path else "?"
        for method in ("GET", "POST"):
            query = f"{separator}stdout=true&command=true"
            got = await api.call(method, f"{namespace}/pods/{path}{query}", headers=UPGRADE)
            assert (got.status, got.message) == (status, sentence), (method, path)
    assert (await api.call("DELETE", f"{namespace}/pods/alone/exec")).status == 405


async def test_without_an_upgrade_there_is_no_stream(api: Api) -> None:
    namespace = await api.namespace()
    node = {"metadata": {"name": "streams"}}
    await api.call("POST", "/api/v1/nodes", node)
    status = {"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}}
    merge = "application/merge-patch+json"
    await api.call("PATCH", "/api/v1/nodes/streams/status", status, content_type=merge)
    await api.call("POST", f"{namespace}/pods", pod("bound", nodeName="streams"))
    for subresource in ("exec", "attach", "portforward"):
        got = await api.call("POST", f"{namespace}/pods/bound/{subresource}?stdout=true&command=true")
        assert (got.status, got.message) == (400, "Upgrade request required"), subresource


async def test_to_look_at_pods_is_no_right_to_enter_them(api: Api) -> None:
    """A WebSocket is opened by GET, and needs the right to create as well (from Kubernetes 1.35 on)."""
    namespace = await api.namespace()
    await api.call("POST", f"{namespace}/pods", pod("web"))
    rbac = namespace.replace("/api/v1", "/apis/rbac.authorization.k8s.io/v1")
    rule: dict[str, Any] = {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]}
    await api.call("POST", f"{rbac}/roles", {"metadata": {"name": "r"}, "rules": [rule]})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    subjects = [{"kind": "User", "name": "eve"}]
    binding = {"metadata": {"name": "r"}, "roleRef": role, "subjects": subjects}
    await api.call("POST", f"{rbac}/rolebindings", binding)
    path = f"{namespace}/pods/web/exec?stdout=true&command=true"
    async with api.session_of(Identity("eve")) as eve:

        async def refused(verb: str) -> bool:
            got = await api.call("GET", path, headers=UPGRADE, session=eve)
            return f'User "eve" cannot {verb} resource "pods/exec"' in got.message

        await eventually(lambda: refused("create"))
        rule["verbs"] = ["get", "create"]
        await api.call("PUT", f"{rbac}/roles/r", {"metadata": {"name": "r"}, "rules": [rule]})

        async def entered() -> bool:
            got = await api.call("GET", path, headers=UPGRADE, session=eve)
            return got.status == 400 and "does not have a host assigned" in got.message

        await eventually(entered)
