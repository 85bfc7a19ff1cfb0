"""The trusted roots in every namespace, against a real API server over loopback."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import pytest

from isthmus.ca.distribution import CONFIG_MAP_NAME, distributing_bundle
from isthmus.ca.everywhere import distributing_everywhere
from isthmus.clusters.api import Api, connected
from isthmus.kube.access import Access
from isthmus.kube.client import Client, running_client
from isthmus.kube.kinds import CONFIG_MAP, NAMESPACE, untyped
from isthmus.lab.apiserver.server import running_api_server
from isthmus.lab.pki import Identity
from isthmus.model.service import ClusterId
from tests.ca.clusters import EAST, WEST
from tests.ca.waiting import until

CLUSTER_ROLE = untyped("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
BINDING = untyped(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)


class Source:
    def __init__(self, bundle: bytes | None) -> None:
        self.bundle = bundle
        self._listeners: list[Callable[[], None]] = []

    def publish(self, bundle: bytes) -> None:
        self.bundle = bundle
        for listener in self._listeners:
            listener()

    @contextmanager
    def subscribe(self, listener: Callable[[], None]) -> Generator[None]:
        self._listeners.append(listener)
        yield
        self._listeners.remove(listener)


@asynccontextmanager
async def cluster(*namespaces: str) -> AsyncGenerator[tuple[Client, Api]]:
    """An administrator's client, and what the control plane has."""
    async with (
        running_api_server() as server,
        running_client(server.access()) as client,
        connected(server.access()) as api,
    ):
        for name in namespaces:
            await client.create(NAMESPACE, {"metadata": {"name": name}})
        yield client, api


async def copies(client: Client) -> dict[str, str]:
    found = await client.list(CONFIG_MAP, field_selector=f"metadata.name={CONFIG_MAP_NAME}")
    return {item.metadata.namespace: item.data.get("root-cert.pem", "") for item in found.items}


async def settle(client: Client, expected: dict[str, str]) -> None:
    async with asyncio.timeout(60):
        while await copies(client) != expected:  # noqa: ASYNC110 - it changes without telling
            await asyncio.sleep(0.005)


async def test_a_cluster_lacks_a_bundle_until_every_namespace_has_it_and_so_does_one_never_reached() -> None:
    source = Source(b"one")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_api_server())
        api = await stack.enter_async_context(connected(server.access()))
        clients = {WEST: api}
        distributions = await stack.enter_async_context(distributing_everywhere(clients, source))
        assert distributions.lacking([WEST, EAST]) == [EAST, WEST]
        await until(lambda: not distributions.lacking([WEST]))
        assert distributions.lacking([WEST, EAST]) == [EAST], "it is known, and was never reached"
        source.publish(b"one two")
        assert distributions.lacking([WEST]) == [WEST]
        await until(lambda: not distributions.lacking([WEST]))
        async with running_client(server.access()) as client:
            assert await copies(client) == {"default": "one two"}


async def test_every_namespace_has_the_bundle_but_those_of_kubernetes() -> None:
    source = Source(b"one")
    async with cluster("a", "b") as (client, api), distributing_bundle(api, source, cluster=WEST):
        await settle(client, {"default": "one", "a": "one", "b": "one"})
        await client.create(NAMESPACE, {"metadata": {"name": "c"}})
        await client.create(NAMESPACE, {"metadata": {"name": "kube-extra"}})
        await settle(client, {"default": "one", "a": "one", "b": "one", "c": "one"})
        source.publish(b"one two")
        await settle(client, dict.fromkeys(("default", "a", "b", "c"), "one two"))
        labels = (await client.get(CONFIG_MAP, CONFIG_MAP_NAME, "c")).metadata.labels
        assert labels["istio.io/config"] == "true"


async def test_what_others_change_is_put_right_and_what_is_theirs_stays() -> None:
    async with cluster("a") as (client, api), distributing_bundle(api, Source(b"one"), cluster=WEST):
        await settle(client, {"default": "one", "a": "one"})
        await client.delete(CONFIG_MAP, CONFIG_MAP_NAME, "default")
        patch = {"data": {"root-cert.pem": "evil", "mine": "kept"}}
        await client.patch(CONFIG_MAP, CONFIG_MAP_NAME, patch, "a")
        await settle(client, {"default": "one", "a": "one"})
        assert (await client.get(CONFIG_MAP, CONFIG_MAP_NAME, "a")).data["mine"] == "kept"


async def test_nothing_is_written_before_there_is_a_bundle() -> None:
    source = Source(None)
    async with cluster("a") as (client, api), distributing_bundle(api, source, cluster=WEST):
        assert await copies(client) == {}
        source.publish(b"one")
        await settle(client, {"default": "one", "a": "one"})


async def test_two_replicas_do_not_disturb_each_other() -> None:
    async with (
        cluster("a", "b") as (client, api),
        distributing_bundle(api, Source(b"one"), cluster=WEST) as first,
        distributing_bundle(api, Source(b"one"), cluster=WEST) as second,
    ):
        await settle(client, {"default": "one", "a": "one", "b": "one"})
        assert (first.missing, second.missing) == ("", "")


@pytest.mark.parametrize(("verbs", "named"), [([], "list"), (["get", "list", "watch"], "create")])
async def test_a_missing_right_is_named_and_taken_up_once_it_is_given(verbs: list[str], named: str) -> None:
    async with running_api_server() as server, running_client(server.access()) as admin:
        rules = [
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs or ["delete"]},
        ]
        await admin.create(CLUSTER_ROLE, {"metadata": {"name": "mesh"}, "rules": rules})
        await admin.create(
            BINDING,
            {
                "metadata": {"name": "mesh"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "mesh"},
                "subjects": [{"kind": "User", "name": "mesh", "apiGroup": "rbac.authorization.k8s.io"}],
            },
        )
        async with (
            connected(server.access(Identity("mesh"))) as api,
            distributing_bundle(api, Source(b"one"), cluster=WEST) as distribution,
        ):
            await until(lambda: f"cannot {named} resource" in distribution.missing)
            assert "configmaps" in distribution.missing
            rules += [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]
            await admin.patch(CLUSTER_ROLE, "mesh", {"rules": rules})
            await settle(admin, {"default": "one"})
            await until(lambda: distribution.missing == "")


async def test_who_else_writes_the_same_copies_is_named_and_not_raced_with() -> None:
    async with (
        cluster("a") as (client, api),
        distributing_bundle(api, Source(b"ours"), cluster=WEST) as ours,
        distributing_bundle(api, Source(b"theirs"), cluster=WEST) as theirs,
    ):
        await until(lambda: "somebody else" in ours.missing + theirs.missing)
        (before,) = await versions(client, "a")
        await asyncio.sleep(0.5)
        assert await versions(client, "a") == [before]


async def versions(client: Client, namespace: str) -> list[str]:
    found = (await client.list(CONFIG_MAP, namespace)).items
    return [one.metadata.resource_version for one in found if one.metadata.name == CONFIG_MAP_NAME]


async def test_clusters_come_go_and_fail_without_each_other() -> None:
    source, live = Source(b"one"), dict[ClusterId, Api]()
    async with cluster("a") as (west, at_west), cluster() as (east, at_east):
        nobody = Access("http://127.0.0.1:1")
        async with (
            connected(nobody) as at_nobody,
            distributing_everywhere(live, source) as distributions,
        ):
            live |= {WEST: at_west, ClusterId("gone"): at_nobody}
            await settle(west, {"default": "one", "a": "one"})
            live[EAST] = at_east
            await settle(east, {"default": "one"})
            del live[WEST]
            await asyncio.sleep(1.5)
            source.publish(b"two")
            await settle(east, {"default": "two"})
            assert await copies(west) == {"default": "one", "a": "one"}
            live[WEST] = at_west
            await settle(west, {"default": "two", "a": "two"})
            assert distributions.missing() == {}
