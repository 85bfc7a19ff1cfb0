"""The control plane's addresses in joined clusters: followed, kept, left alone; in virtual time."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec

from isthmus.clusters.healing import SERVICES
from isthmus.clusters.reading import SERVICE_NAME_LABEL
from isthmus.kube import kinds, objects
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.objects import EndpointConditions, Metadata
from tests.clusters.fake_world import CONTROL, FakeServer, World
from tests.clusters.running import in_virtual_time, running_mesh

PILOT, POLICY, STATSD = SERVICES
Json = dict[str, Any]


def put_own(world: World, service: str, *ready: str, unready: tuple[str, ...] = ()) -> None:
    """Slices of the control plane's own pods, as its cluster has them."""
    _put(world["home"], service, ready, unready)


def _put(server: FakeServer, service: str, ready: tuple[str, ...], unready: tuple[str, ...] = ()) -> None:
    """A Service and a slice of it for each family."""
    server.put(kinds.SERVICE, objects.Service(metadata=Metadata(name=service, namespace=CONTROL)))
    for family, colon in ("IPv4", False), ("IPv6", True):
        own = [tuple(a for a in some if (":" in a) is colon) for some in (ready, unready)]
        server.put(kinds.ENDPOINT_SLICE, _slice(service, family, *own))


def _slice(
    service: str, family: str, ready: tuple[str, ...], unready: tuple[str, ...]
) -> objects.EndpointSlice:
    conditions = [*((a, True) for a in ready), *((a, False) for a in unready)]
    return objects.EndpointSlice(
        metadata=Metadata(
            name=f"{service}-{family}", namespace=CONTROL, labels={SERVICE_NAME_LABEL: service}
        ),
        address_type=family,
        ports=(objects.EndpointPort(name="grpc", port=15010),),
        endpoints=tuple(
            objects.SliceEndpoint(addresses=(a,), conditions=EndpointConditions(ready=is_ready))
            for a, is_ready in conditions
        ),
    )


@dataclass
class Remote:
    """The three Services and their Endpoints in a remote, which mirrors Endpoints into slices."""

    server: FakeServer
    endpoints: dict[str, Json] = field(default_factory=dict[str, Json])
    writes: int = 0
    forbidden: bool = False
    garbled: bool = False

    def __post_init__(self) -> None:
        for name in SERVICES:
            spec = {"clusterIP": "None", "ports": [{"name": "grpc", "port": 15010}]}
            metadata = {"name": name, "namespace": CONTROL, "uid": f"uid-of-{name}"}
            service = msgspec.json.encode({"metadata": metadata, "spec": spec})
            path = f"/api/v1/namespaces/{CONTROL}"
            self.server.handlers[f"GET {path}/services/{name}"] = lambda _, service=service: service
            self.server.handlers[f"GET {path}/endpoints/{name}"] = lambda _, name=name: self._read(name)
            self.server.handlers[f"PATCH {path}/endpoints/{name}"] = lambda body, name=name: self._write(
                name, body
            )
            self.server.handlers[f"POST {path}/endpoints"] = lambda body: self._write(
                body["metadata"]["name"], body
            )

    def holds(self, service: str) -> list[str]:
        subsets = self.endpoints.get(service, {}).get("subsets", [])
        return [address["ip"] for subset in subsets for address in subset["addresses"]]

    def install(self, service: str, *addresses: str) -> None:
        """What a chart writes."""
        subsets = [{"addresses": [{"ip": a} for a in addresses], "ports": [{"name": "grpc", "port": 1}]}]
        self._store(service, {"metadata": {"name": service}, "subsets": subsets})

    def _read(self, name: str) -> bytes:
        if self.garbled:
            return b'{"metadata": {}, "subsets": [7]}'
        if name not in self.endpoints:
            raise ApiError(404, "NotFound", name)
        return msgspec.json.encode(self.endpoints[name])

    def _write(self, name: str, body: Json) -> bytes:
        if self.forbidden:
            raise ApiError(403, "Forbidden", f"cannot write endpoints {name}")
        self.writes += 1
        self._store(name, {**self.endpoints.get(name, {}), **body})
        return msgspec.json.encode(self.endpoints[name])

    def _store(self, name: str, body: Json) -> None:
        body["metadata"] = {**body["metadata"], "resourceVersion": str(self.writes)}
        self.endpoints[name] = body
        _put(self.server, name, tuple(self.holds(name)))


def joined(*names: str, **annotations: str) -> tuple[World, dict[str, Remote]]:
    """A mesh of these remotes, in which our own pods have addresses."""
    world = World(*names)
    for name in names:
        world.put_secret(
            name,
            annotations={f"isthmus.dev/{key}".replace("_", "-"): text for key, text in annotations.items()},
            **{name: world.kubeconfig(name)},
        )
    put_own(world, PILOT, "10.0.0.1", unready=("10.0.0.7",))
    put_own(world, POLICY, "10.0.0.2")
    return world, {name: Remote(world[name]) for name in names}


@in_virtual_time
async def test_addresses_are_filled_in_followed_and_put_back_but_never_emptied():
    world, remotes = joined("east")
    east = remotes["east"]
    east.install(PILOT, "192.0.2.1")
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(2)
        assert (east.holds(PILOT), east.holds(POLICY), east.holds(STATSD)) == (["10.0.0.1"], ["10.0.0.2"], [])
        assert east.endpoints[PILOT]["subsets"][0]["ports"] == [{"name": "grpc", "port": 1}]
        assert east.endpoints[POLICY]["metadata"]["ownerReferences"][0]["uid"] == f"uid-of-{POLICY}"

        put_own(world, PILOT, "10.0.0.7", "fd00::8")
        await asyncio.sleep(2)
        assert east.holds(PILOT) == ["10.0.0.7", "fd00::8"]
        put_own(world, PILOT, unready=("10.0.0.7",))
        world["home"].remove(kinds.ENDPOINT_SLICE, f"{POLICY}-IPv4", CONTROL)
        await asyncio.sleep(60)
        assert (east.holds(PILOT), east.holds(POLICY)) == (["10.0.0.7", "fd00::8"], ["10.0.0.2"])

        put_own(world, PILOT, "10.0.0.9")
        await asyncio.sleep(2)
        writes = east.writes
        east.install(PILOT, "192.0.2.1")
        await asyncio.sleep(2)
        assert (east.holds(PILOT), east.writes) == (["10.0.0.9"], writes + 1)
        await asyncio.sleep(3600)
        assert east.writes == writes + 1
        assert mesh.status("east").remarks == ()


@in_virtual_time
async def test_a_remote_that_does_not_answer_is_healed_when_it_does_and_holds_up_no_other():
    world, remotes = joined("east", "north")
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(2)
        world["east"].hangs = True
        put_own(world, PILOT, "10.0.0.9")
        await asyncio.sleep(2)
        assert (remotes["east"].holds(PILOT), remotes["north"].holds(PILOT)) == (["10.0.0.1"], ["10.0.0.9"])
        world["east"].interrupt()
        await asyncio.sleep(600)
        put_own(world, PILOT, "10.0.0.10")
        await asyncio.sleep(2)
        assert remotes["north"].holds(PILOT) == ["10.0.0.10"]
        world["east"].hangs = False
        await asyncio.sleep(30)
        assert remotes["east"].holds(PILOT) == ["10.0.0.10"]
        assert mesh.status("east").remarks == ()


@in_virtual_time
async def test_a_replica_that_has_lost_its_own_api_server_writes_nothing():
    world, remotes = joined("east")
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(2)
        world["home"].problem = Unreachable("no route")
        remotes["east"].install(PILOT, "10.0.0.99")  # another replica knows better
        await asyncio.sleep(120)
        assert remotes["east"].holds(PILOT) == ["10.0.0.99"]
        world["home"].problem = None
        put_own(world, PILOT, "10.0.0.99")
        await asyncio.sleep(60)
        assert remotes["east"].holds(PILOT) == ["10.0.0.99"]


@in_virtual_time
async def test_it_can_be_switched_off_for_all_and_for_one():
    for heal, wish, healed in (
        (True, {}, True),
        (False, {}, False),
        (True, {"heal_endpoints": "false"}, False),
        (False, {"heal_endpoints": "true"}, True),
        (True, {"heal_endpoints": "of course"}, True),
    ):
        world, remotes = joined("east", **wish)
        remotes["east"].install(PILOT, "192.0.2.1")
        async with running_mesh(world, heal=heal) as mesh:
            await mesh.clusters.settled()
            await asyncio.sleep(60)
            assert remotes["east"].holds(PILOT) == ["10.0.0.1" if healed else "192.0.2.1"]
            remarks = mesh.status("east").remarks
            assert ["heal-endpoints is 'of course'" in each for each in remarks] == (
                [True] if "of course" in wish.values() else []
            )


@in_virtual_time
async def test_a_missing_right_or_nonsense_disables_this_alone_and_is_named_until_it_is_mended():
    world, remotes = joined("east", "north")
    remotes["east"].forbidden, remotes["north"].garbled = True, True
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(900)
        (remark,) = mesh.status("east").remarks
        for part in (
            "403",
            "cannot write endpoints istio-pilot",
            "tier heal",
            "isthmus.dev/heal-endpoints=false",
        ):
            assert part in remark
        (remark,) = mesh.status("north").remarks
        assert "make no sense" in remark
        assert mesh.status("east").state.value == mesh.status("north").state.value == "fresh"
        assert remotes["north"].writes == 0
        remotes["east"].forbidden = remotes["north"].garbled = False
        await asyncio.sleep(900)
        assert [remotes[name].holds(PILOT) for name in remotes] == [["10.0.0.1"]] * 2
        assert mesh.status("east").remarks == mesh.status("north").remarks == ()


@in_virtual_time
async def test_a_quarrel_with_somebody_who_writes_too_is_slowed_down_and_named():
    world, remotes = joined("east")
    east = remotes["east"]
    async with running_mesh(world) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(2)
        for _ in range(3600):
            await asyncio.sleep(1)
            if east.holds(PILOT) != ["192.0.2.1"]:
                east.install(PILOT, "192.0.2.1")
                owner: Json = {"manager": "argocd", "operation": "Apply", "fieldsV1": {"f:subsets": {}}}
                east.endpoints[PILOT]["metadata"]["managedFields"] = [owner]
        assert 60 < east.writes < 200
        (remark,) = mesh.status("east").remarks
        assert "changed back by argocd" in remark
        await asyncio.sleep(1200)
        assert east.holds(PILOT) == ["10.0.0.1"]
        put_own(world, PILOT, "10.0.0.3")
        await asyncio.sleep(2)
        assert east.holds(PILOT) == ["10.0.0.3"]
        assert mesh.status("east").remarks == ()
