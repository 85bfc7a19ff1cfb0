from collections.abc import Sequence

import aiohttp
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from prometheus_client import CollectorRegistry, Counter

from isthmus.dashboard.config_dump import describe_config
from isthmus.dashboard.server import Pages, serving_pages
from isthmus.lib.address import HostPort
from isthmus.lib.errors import UserError
from isthmus.model.resources import CLUSTER, Resource

LOOPBACK = HostPort("127.0.0.1", 0)


def pages(pending: Sequence[str] = (), registry: CollectorRegistry | None = None) -> Pages:
    cluster = Resource(CLUSTER, "a", "v1", Cluster(name="a").SerializeToString())
    return Pages(
        pending=lambda: pending,
        metrics=registry or CollectorRegistry(),
        clusterz=lambda: [{"id": "west"}],
        syncz=list,
        endpointz=list,
        registryz=list,
        config_dump=lambda proxy: describe_config({CLUSTER: [cluster]}) if proxy == "a.demo" else None,
    )


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def test_readiness_names_what_is_still_awaited() -> None:
    async with serving_pages([LOOPBACK], pages(["cluster east"])) as (port,):
        assert await get(f"http://127.0.0.1:{port}/ready") == (503, "waiting for cluster east\n")
    async with serving_pages([LOOPBACK], pages()) as (port,):
        assert (await get(f"http://127.0.0.1:{port}/ready"))[0] == 200


async def test_metrics_are_those_of_the_given_registry() -> None:
    registry = CollectorRegistry()
    Counter("pushes", "Pushes.", registry=registry).inc()
    async with serving_pages([LOOPBACK], pages(registry=registry)) as (port,):
        _, text = await get(f"http://127.0.0.1:{port}/metrics")
    assert "pushes_total 1.0" in text


async def test_a_config_dump_has_the_form_of_envoys_own() -> None:
    async with (
        serving_pages([LOOPBACK], pages()) as (port,),
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/debug/config_dump?proxyID=a.demo") as answer,
    ):
        dump = await answer.json()
    clusters = dump["configs"][0]
    assert clusters["@type"] == "type.googleapis.com/envoy.admin.v3.ClustersConfigDump"
    assert clusters["dynamicActiveClusters"] == [
        {"versionInfo": "v1", "cluster": {"@type": CLUSTER, "name": "a"}},
    ]


async def test_a_config_dump_of_nobody_says_how_to_name_a_proxy() -> None:
    async with serving_pages([LOOPBACK], pages()) as (port,):
        missing = await get(f"http://127.0.0.1:{port}/debug/config_dump")
        unknown = await get(f"http://127.0.0.1:{port}/debug/config_dump?proxyID=b.demo")
    assert missing == (400, "Name a proxy: /debug/config_dump?proxyID=POD.NAMESPACE\n")
    assert unknown[0] == 404
    assert "/debug/syncz" in unknown[1]


async def test_an_address_in_use_is_named() -> None:
    async with serving_pages([LOOPBACK], pages()) as (port,):
        with pytest.raises(UserError, match=rf"127\.0\.0\.1:{port} cannot be used"):
            async with serving_pages([HostPort("127.0.0.1", port)], pages()):
                pass
