"""`python -m bench.synthetic SERVICES ENDPOINTS`: xds alone, over made-up resources, for work on the hub.

The first line on standard output is the port. A line on standard input, an address, becomes the first
endpoint of service 0; the answer is the time when the change was published.
"""

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import Collection, Hashable, Iterator, Sequence

import uvloop
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from google.protobuf.message import Message

from isthmus.lib.garbage import collecting_between_bursts
from isthmus.model.proxy import Proxy
from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, PUSH_ORDER, Resource, Scope, ScopeChange
from isthmus.xds.ads import serving_ads
from isthmus.xds.hub import Hub


def _resource(type_url: str, name: str, message: Message) -> Resource:
    body = message.SerializeToString(deterministic=True)
    return Resource(type_url, name, hashlib.blake2b(body, digest_size=8).hexdigest(), body)


class Made:
    """A scope over plain dictionaries."""

    def __init__(self, key: Hashable) -> None:
        self._key = key
        self.by_type: dict[str, dict[str, Resource]] = {}
        self._all: dict[str, Sequence[Resource]] = {}

    @property
    def key(self) -> Hashable:
        return self._key

    @property
    def types(self) -> Collection[str]:
        return PUSH_ORDER

    @property
    def prepared(self) -> bool:
        return True

    def preparing(self) -> Iterator[None]:
        return iter(())

    def get(self, type_url: str, name: str) -> Resource | None:
        return self.by_type.get(type_url, {}).get(name)

    def all(self, type_url: str) -> Sequence[Resource]:
        if type_url not in self._all:
            self._all[type_url] = [one for _, one in sorted(self.by_type.get(type_url, {}).items())]
        return self._all[type_url]

    def put(self, resource: Resource) -> ScopeChange:
        self.by_type.setdefault(resource.type_url, {})[resource.name] = resource
        self._all.pop(resource.type_url, None)
        return ScopeChange(self, {resource.type_url: frozenset((resource.name,))})


def _assignment(name: str, addresses: Sequence[str]) -> Resource:
    made = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    group = made.endpoints.add()
    for address in addresses:
        one = group.lb_endpoints.add()
        one.load_balancing_weight.value = 1
        one.endpoint.address.socket_address.address = address
        one.endpoint.address.socket_address.port_value = 8080
    return _resource(ENDPOINT, name, made)


def _name(index: int) -> str:
    return f"outbound|80||service-{index}.bench.svc.cluster.local"


class Provider:
    """One scope for all, and one of its own, with an inbound cluster and listener, for each proxy."""

    def __init__(self, services: int, endpoints: int) -> None:
        self.mesh = Made("mesh")
        for index in range(services):
            cluster = cluster_pb2.Cluster(name=_name(index), type=cluster_pb2.Cluster.EDS)
            cluster.eds_cluster_config.eds_config.ads.SetInParent()
            cluster.connect_timeout.seconds = 10
            self.mesh.put(_resource(CLUSTER, cluster.name, cluster))
            self.mesh.put(
                _assignment(cluster.name, [f"10.{n}.{index >> 8}.{index & 255}" for n in range(endpoints)])
            )
        self._endpoints = endpoints

    def scopes(self, proxy: Proxy) -> Sequence[Scope]:
        own = Made(proxy.node_id)
        own.put(
            _resource(
                CLUSTER, "inbound|8080||", cluster_pb2.Cluster(name="inbound|8080||", alt_stat_name=proxy.pod)
            )
        )
        own.put(
            _resource(
                LISTENER,
                "virtualInbound",
                listener_pb2.Listener(name="virtualInbound", stat_prefix=proxy.pod),
            )
        )
        return self.mesh, own

    def change(self, address: str) -> ScopeChange:
        return self.mesh.put(
            _assignment(_name(0), [address, *(f"10.{n}.0.0" for n in range(1, self._endpoints))])
        )


async def _serve(services: int, endpoints: int) -> None:
    provider = Provider(services, endpoints)
    hub = Hub(provider)
    async with collecting_between_bursts(), serving_ads("127.0.0.1:0", hub) as port:
        print(port, flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            began = time.monotonic()
            hub.publish([provider.change(line.strip())])
            print(json.dumps({"began": began}), flush=True)


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
