"""What `istioctl` asks the control plane: over xDS as proxy-status, over HTTP as remote-clusters."""

import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from envoy.admin.v3.config_dump_pb2 import ConfigDump
from envoy.admin.v3.config_dump_shared_pb2 import ClustersConfigDump
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from envoy.service.status.v3.csds_pb2 import ClientConfig, ConfigStatus
from grpc import aio

from isthmus.kube.kinds import untyped
from isthmus.model.resources import CLUSTER, LISTENER
from tests.scenarios.mesh import ECHO, ads, eventually
from tests.scenarios.siege import Call, Claim, Siege, besieged, hear

_SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
_ACCOUNT = untyped("", "v1", "serviceaccounts", "ServiceAccount")
SYNCZ, CONFIG_DUMP, PAGE = "istio.io/debug/syncz", "istio.io/debug/config_dump", "istio.io/debug"


async def token_of(siege: Siege, account: str = "default") -> str:
    """As istioctl makes it: of an account of the control plane's namespace, bound to no pod."""
    path = f"{_ACCOUNT.path('istio-system', account)}/token"
    spec = {"audiences": ["istio-ca"], "expirationSeconds": 3600}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    answer = json.loads(await siege.mesh.west.api.request("POST", path, body=body))
    return siege.hide(answer["status"]["token"])


def question(type_url: str, *names: str) -> DiscoveryRequest:
    """With the node and the made-up nonce of Istio's client (adsc)."""
    asked = DiscoveryRequest(type_url=type_url, resource_names=names)
    asked.node.id = "sidecar~127.0.0.1~test-1.default~default.svc.cluster.local"
    for name, value in {
        "GENERATOR": "event",
        "NAMESPACE": "istio-system",
        "SERVICE_ACCOUNT": "default",
        "ISTIO_VERSION": "65536.65536.65536",
    }.items():
        asked.node.metadata[name] = value
    asked.response_nonce = "2026-08-22 15:00:18.123456789 +0000 UTC m=+0.123456789"
    return asked


@asynccontextmanager
async def asking(siege: Siege, token: str, *questions: DiscoveryRequest) -> AsyncGenerator[Call]:
    async with siege.channel() as channel:
        call = ads(channel)(metadata=aio.Metadata(("authorization", f"Bearer {token}")))
        with contextlib.suppress(aio.AioRpcError):
            for each in questions:
                await call.write(each.SerializeToString())
        yield call
        call.cancel()


async def answer(siege: Siege, token: str, type_url: str, *names: str) -> DiscoveryResponse:
    async with asking(siege, token, question(type_url, *names)) as call:
        return await hear(call)


async def refusal(siege: Siege, token: str, *questions: DiscoveryRequest) -> tuple[grpc.StatusCode, str]:
    async with asking(siege, token, *questions) as call:
        with contextlib.suppress(aio.AioRpcError):
            while await call.read() is not aio.EOF:
                pass
        return await call.code(), await call.details() or ""


@asynccontextmanager
async def proxy(siege: Siege) -> AsyncGenerator[Call]:
    """A sidecar that has its clusters, and refuses its listeners. Its agent said early that it is well."""
    claim = Claim(metadata={"ISTIO_VERSION": "1.30.0"})
    async with siege.stream(None, token=await siege.token(pod="echo-1")) as call:
        early = DiscoveryRequest(type_url="type.googleapis.com/istio.v1.HealthInformation")
        await call.write(early.SerializeToString())
        await call.write(claim.request().SerializeToString())
        heard = await hear(call)
        accepted = DiscoveryRequest(type_url=CLUSTER, response_nonce=heard.nonce)
        await call.write(accepted.SerializeToString())
        await call.write(DiscoveryRequest(type_url=LISTENER).SerializeToString())
        refused = DiscoveryRequest(type_url=LISTENER, response_nonce=(await hear(call)).nonce)
        refused.error_detail.message = "no such listener"
        await call.write(refused.SerializeToString())
        yield call


def statuses(response: DiscoveryResponse) -> dict[str, dict[str, str]]:
    """By proxy and type what proxy-status shows."""
    shown: dict[str, dict[str, str]] = {}
    for resource in response.resources:
        assert resource.type_url.endswith("/envoy.service.status.v3.ClientConfig")
        config = ClientConfig.FromString(resource.value)
        shown[config.node.id] = {
            one.type_url: ConfigStatus.Name(one.config_status) for one in config.generic_xds_configs
        }
        assert all(one.last_updated.seconds for one in config.generic_xds_configs)
    return shown


async def test_istioctl_sees_over_xds_what_proxies_hold_and_nobody_else_does(tmp_path: Path) -> None:
    async with besieged(tmp_path) as siege:
        await siege.mesh.west.api.create(_ACCOUNT, {"metadata": {"name": "default"}}, "istio-system")
        token = await token_of(siege)
        assert statuses(await answer(siege, token, SYNCZ)) == {}, "who asks is no proxy"
        async with proxy(siege):

            async def synced() -> dict[str, dict[str, str]]:
                return statuses(await answer(siege, token, SYNCZ))

            wanted = {"echo-1.demo": {CLUSTER: "SYNCED", LISTENER: "ERROR"}}
            await eventually(lambda: _equal(synced, wanted))
            response = await answer(siege, token, SYNCZ)
            said = json.loads(response.control_plane.identifier)
            assert all((said["Component"], said["ID"], said["Info"]["version"]))
            config = ClientConfig.FromString(response.resources[0].value)
            for name, value in {"CLUSTER_ID": "west", "NAMESPACE": "demo", "ISTIO_VERSION": "1.30.0"}.items():
                assert config.node.metadata[name] == value
            details = {one.type_url: one.error_state.details for one in config.generic_xds_configs}
            assert details == {CLUSTER: "", LISTENER: "no such listener"}

            dump = ConfigDump(configs=(await answer(siege, token, CONFIG_DUMP, "echo-1.demo")).resources)
            (clusters,) = [one for one in dump.configs if one.type_url.endswith(".ClustersConfigDump")]
            active = ClustersConfigDump.FromString(clusters.value).dynamic_active_clusters
            assert ECHO in {Cluster.FromString(one.cluster.value).name for one in active}
            assert not (await answer(siege, token, CONFIG_DUMP, "nobody.demo")).resources

            await _asks_for_pages(siege, token)
            await _asks_in_the_delta_form(siege, token)

        outsider = await siege.token()
        code, why = await refusal(siege, outsider, question(SYNCZ))
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert "ns/demo/sa/echo" in why
        assert "namespace istio-system" in why
        for questions in (
            [question(PAGE)],
            [question(PAGE, "syncz", "clusterz")],
            [question(SYNCZ), question(CLUSTER)],
        ):
            assert (await refusal(siege, token, *questions))[0] is grpc.StatusCode.INVALID_ARGUMENT
        await _asks_over_http(siege)


async def _equal(read: Callable[[], Awaitable[object]], wanted: object) -> bool:
    return await read() == wanted


async def _asks_for_pages(siege: Siege, token: str) -> None:
    """As `istioctl x internal-debug` does."""
    one = "?proxyID=echo-1.demo"
    for name in (
        "clusterz",
        "syncz?pretty",
        "adsz",
        "mesh",
        "connections",
        f"config_dump{one}",
        f"adsz{one}",
    ):
        (resource,) = (await answer(siege, token, PAGE, name)).resources
        assert resource.type_url == PAGE
        assert json.loads(resource.value)
    for name in ("pprof/heap", "config_dump", "adsz?proxyID=nobody.demo"):
        (unknown,) = (await answer(siege, token, PAGE, name)).resources
        assert unknown.value.startswith(b"404")


async def _asks_in_the_delta_form(siege: Siege, token: str) -> None:
    asked = DeltaDiscoveryRequest(type_url=PAGE, resource_names_subscribe=["clusterz"])
    asked.node.id = "sidecar~127.0.0.1~test-1.default~default.svc.cluster.local"
    async with siege.channel() as channel:
        method: aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            _SERVICE + "DeltaAggregatedResources"
        )
        call = method(metadata=aio.Metadata(("authorization", f"Bearer {token}")))
        await call.write(asked.SerializeToString())
        response = await _hear_delta(call)
        (resource,) = response.resources
        assert resource.name == "clusterz"
        assert {row["id"] for row in json.loads(resource.resource.value)} == {"west", "east"}
        accepted = DeltaDiscoveryRequest(type_url=PAGE, response_nonce=response.nonce)
        await call.write(accepted.SerializeToString())
        await call.write(asked.SerializeToString())
        again = await _hear_delta(call)
        assert (again.nonce != response.nonce, len(again.resources)) == (True, 1), "an ACK asks nothing"
        call.cancel()


async def _hear_delta(call: Call) -> DeltaDiscoveryResponse:
    data = await call.read()
    assert isinstance(data, bytes)
    return DeltaDiscoveryResponse.FromString(data)


async def _asks_over_http(siege: Siege) -> None:
    """As `istioctl remote-clusters` and `version` do, through a port-forward to the pod."""
    rows = await siege.pilot.page("/debug/clusterz")
    assert {(row["id"], row["secretName"], row["syncStatus"]) for row in rows} == {
        ("west", "", "synced"),
        ("east", "istio-system/east", "synced"),
    }
    status, text = await siege.pilot.page("/version")
    assert status == 200
    version, revision, build = text.rsplit("-", 2)
    assert (bool(version), bool(revision), build) == (True, True, "Clean")
    assert "clusterz" in await siege.pilot.page("/debug/list")
