from collections.abc import Sequence

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from prometheus_client import CollectorRegistry, Counter

from isthmus.dashboard.config_dump import describe_config
from isthmus.dashboard.guard import Denied, guarded
from isthmus.dashboard.server import Pages, pages_by_path, serving_pages
from isthmus.lib.address import HostPort
from isthmus.lib.errors import UserError
from isthmus.model.resources import CLUSTER, Resource

LOOPBACK = HostPort("127.0.0.1", 0)


async def nobody(token: str, path: str, host: str) -> Denied | None:
    return Denied(401, "nobody may")


def pages(pending: Sequence[str] = (), registry: CollectorRegistry | None = None) -> Pages:
    cluster = Resource(CLUSTER, "a", "v1", Cluster(name="a").SerializeToString())
    return Pages(
        pending=lambda: pending,
        metrics=registry or CollectorRegistry(),
        version="1-isthmus-Clean",
        debug={"clusterz": lambda: [{"id": "west"}], "syncz": list, "adsz": lambda: ["all"]},
        may_read=nobody,
        of_proxy={
            "config_dump": lambda proxy: describe_config({CLUSTER: [cluster]}) if proxy == "a.demo" else None,
            "adsz": lambda proxy: [proxy] if proxy == "a.demo" else None,
        },
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


async def test_a_page_may_be_of_all_proxies_or_of_one() -> None:
    async with serving_pages([LOOPBACK], pages()) as (port,):
        page = f"http://127.0.0.1:{port}/debug/adsz"
        assert await get(page) == (200, '["all"]')
        assert await get(f"{page}?proxyID=a.demo") == (200, '["a.demo"]')
        assert (await get(f"{page}?proxyID=b.demo"))[0] == 404
        assert (await get(f"http://127.0.0.1:{port}/debug/list"))[1].count("adsz") == 1


async def test_an_address_in_use_is_named() -> None:
    async with serving_pages([LOOPBACK], pages()) as (port,):
        with pytest.raises(UserError, match=rf"127\.0\.0\.1:{port} cannot be used"):
            async with serving_pages([HostPort("127.0.0.1", port)], pages()):
                pass


async def test_debug_pages_are_for_this_machine_or_for_a_token_and_the_others_for_everybody() -> None:
    asked: list[tuple[str, str]] = []

    async def may_read(token: str, path: str, host: str) -> Denied | None:
        asked.append((token, path))
        return None if token == "good" else Denied(403 if token else 401, "not you")

    async def shown(_: web.Request) -> web.Response:
        return web.Response(text="shown")

    page = guarded(shown, may_read)

    async def read(host: str, **headers: str) -> tuple[int, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = make_mocked_request("GET", "/debug/syncz", headers=named)
        answer = await page(request.clone(remote=host))
        assert isinstance(answer, web.Response)
        return answer.status, answer.text or ""

    for host in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
        assert await read(host) == (200, "shown")
    assert not asked
    assert (await read("10.0.0.9", Authorization="Bearer good"))[0] == 200
    assert (await read("10.0.0.9", X_Isthmus_Authorization="bearer good", Authorization="Basic x"))[0] == 200
    for host in ("10.0.0.9", "fd00::9", "", "::ffff:10.0.0.9"):
        status, text = await read(host)
        assert (status, "port-forward" in text, "not you" in text) == (401, True, True)
        assert (await read(host, Authorization="Bearer bad"))[0] == 403
        assert (await read(host, X_Forwarded_For="127.0.0.1"))[0] == 401
    assert {path for _, path in asked} == {"/debug/syncz"}


async def test_every_debug_page_is_guarded_and_no_other() -> None:
    opened, seen = set[str](), set[str]()
    for path, page in pages_by_path(pages()).items():
        request = make_mocked_request("GET", path).clone(remote="10.0.0.9")
        answer = await page(request)
        (seen if answer.status == 401 else opened).add(path)
    assert opened == {"/ready", "/healthz", "/metrics", "/version"}
    assert {"/debug", "/debug/list", "/debug/config_dump", "/debug/clusterz"} <= seen
