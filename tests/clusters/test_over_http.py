"""The registry on the real Kubernetes client, over loopback: servers that hang, refuse or speak nonsense."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import yaml
from aiohttp import web

from isthmus.clusters.health import State
from isthmus.clusters.registry import Clusters, running_clusters
from isthmus.kube.kinds import ENDPOINT_SLICE, NAMESPACE, NODE, POD, SECRET, SERVICE
from isthmus.model.service import ClusterId
from tests.clusters.building import ECHO
from tests.kube.fake_api import FakeApi, running_fake_api

KINDS = (SERVICE, ENDPOINT_SLICE, POD, NODE, NAMESPACE, SECRET)
CONTROL = "istio-system"


def fill(api: FakeApi, name: str, address: str) -> None:
    api.put(NAMESPACE, {"metadata": {"name": "kube-system", "uid": f"uid-of-{name}"}})
    api.put(
        SERVICE,
        {
            "metadata": {"name": "echo", "namespace": "demo"},
            "spec": {"clusterIP": "10.9.0.1", "ports": [{"port": 80, "name": "http"}]},
        },
    )
    api.put(POD, {"metadata": {"name": name, "namespace": "demo"}, "status": {"podIP": address}})
    put_slice(api, name, address)


def put_slice(api: FakeApi, name: str, *addresses: str) -> None:
    endpoints = [{"addresses": [a], "targetRef": {"kind": "Pod", "name": name}} for a in addresses]
    api.put(
        ENDPOINT_SLICE,
        {
            "metadata": {
                "name": "echo-1",
                "namespace": "demo",
                "labels": {"kubernetes.io/service-name": "echo"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": endpoints,
        },
    )


def put_secret(api: FakeApi, **servers: FakeApi) -> None:
    data = {
        name: yaml.safe_dump(
            {
                "current-context": "it",
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                "clusters": [{"name": "it", "cluster": {"server": server.access.server}}],
                "users": [{"name": "it", "user": {}}],
            }
        )
        for name, server in servers.items()
    }
    api.put(
        SECRET,
        {
            "metadata": {"name": "s", "namespace": CONTROL, "labels": {"istio/multiCluster": "true"}},
            "data": {name: base64.b64encode(text.encode()).decode() for name, text in data.items()},
        },
    )


@asynccontextmanager
async def two_clusters() -> AsyncGenerator[tuple[FakeApi, FakeApi, Clusters]]:
    async with running_fake_api(*KINDS) as home, running_fake_api(*KINDS) as east:
        fill(home, "home", "10.0.0.1")
        fill(east, "east", "10.1.0.1")
        async with running_clusters(
            home.access, cluster_id=ClusterId("home"), namespace=CONTROL, networks={}
        ) as clusters:
            yield home, east, clusters


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - states change without telling
            await asyncio.sleep(0.005)


def addresses(clusters: Clusters) -> list[str]:
    return [e.address for e in clusters.view.endpoints(ECHO).get(80, ())]


def state(clusters: Clusters, name: str) -> State | None:
    return next((each.state for each in clusters.status() if each.name == name), None)


async def test_a_cluster_joins_changes_and_leaves():
    async with two_clusters() as (home, east, clusters):
        await clusters.settled()
        assert addresses(clusters) == ["10.0.0.1"]
        put_secret(home, east=east)
        await until(lambda: addresses(clusters) == ["10.1.0.1", "10.0.0.1"])
        endpoint = clusters.view.endpoints(ECHO)[80][0]
        assert endpoint.workload is not None
        put_slice(east, "east", "10.1.0.2", "10.1.0.3")
        await until(lambda: addresses(clusters) == ["10.1.0.2", "10.1.0.3", "10.0.0.1"])
        home.remove(SECRET, "s", CONTROL)
        await until(lambda: addresses(clusters) == ["10.0.0.1"])


async def test_a_server_that_speaks_nonsense_is_unreachable_and_disturbs_nobody():
    async def nonsense(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>It works!</html>", content_type="text/html")

    async with two_clusters() as (home, east, clusters):
        east.intercept = nonsense
        put_secret(home, east=east)
        await until(lambda: state(clusters, "east") is State.UNREACHABLE)
        await clusters.settled()
        assert addresses(clusters) == ["10.0.0.1"]
        east.intercept = None
        await until(lambda: addresses(clusters) == ["10.1.0.1", "10.0.0.1"])


async def test_a_server_that_refuses_the_credential_is_unauthorised():
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response({"kind": "Status", "code": 401, "reason": "Unauthorized"}, status=401)

    async with two_clusters() as (home, east, clusters):
        east.intercept = refuse
        put_secret(home, east=east)
        await until(lambda: state(clusters, "east") is State.UNAUTHORISED)


async def test_a_server_that_hangs_delays_no_other():
    async def hang(_: web.Request) -> Any:
        await asyncio.Event().wait()

    async with two_clusters() as (home, east, clusters):
        east.intercept = hang
        put_secret(home, east=east)
        await until(lambda: state(clusters, "east") is State.SYNCING)
        put_slice(home, "home", "10.0.0.2")
        await until(lambda: addresses(clusters) == ["10.0.0.2"])
