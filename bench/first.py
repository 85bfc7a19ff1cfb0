"""`python -m bench.first`: what the first proxy of a large mesh costs, and how long the event loop is held.

One process without sockets: view, translation and ADS are the real ones, wired as the control plane wires
them. A cluster joins, and a proxy connects and asks for everything. For each stage, in milliseconds of CPU:
all of it, and the most in which nothing else on the loop had a turn. JSON on standard output.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable
from typing import Any, cast

from bench.proxy import CLUSTER, ENDPOINT, LISTENER, METHODS, ROUTE, first_request, node
from isthmus.apps.telling import Telling
from isthmus.clusters.labels import shared_labels
from isthmus.clusters.parts import Backend, PodPart, ServicePart, ServicePort, SlicePart, Subset
from isthmus.clusters.store import ClusterStore
from isthmus.clusters.view import JoinedView
from isthmus.config.mesh import MeshConfig
from isthmus.kube.decoding import Ref
from isthmus.lib.garbage import collecting_between_bursts
from isthmus.model.service import ClusterId, Kind, Network, Protocol, ServiceKey
from isthmus.model.workload import Health, Locality, Workload, WorkloadKey
from isthmus.translate.catalogue import Catalogue
from isthmus.xds.ads import ads_handlers, running_ads
from isthmus.xds.hub import Hub

_CLUSTER = ClusterId("bench")
_LABELS = shared_labels({"security.istio.io/tlsMode": "istio"})
_NOTHING = shared_labels({})


def _fill(store: ClusterStore, services: int, endpoints: int) -> None:
    for number in range(services):
        key, place = ServiceKey("bench", f"service-{number}"), f"{number >> 8}.{number & 255}"
        ports = (ServicePort(80, "http", Protocol.HTTP, 8080),)
        store.put_service(ServicePart(key, Kind.CLUSTER_IP, ports, (f"10.200.{place}",), _NOTHING))
        backends: list[Backend] = []
        for index in range(endpoints):
            name, address = f"{key.name}-{index}", f"10.{index}.{place}"
            pod = WorkloadKey(_CLUSTER, key.namespace, name)
            workload = Workload(pod, (address,), _LABELS, _NOTHING, key.name, Network(""), Locality())
            store.put_pod(PodPart(workload, "", ()))
            backends.append(Backend(address, Health.READY, name))
        subset = Subset((("http", 8080),), tuple(backends))
        store.put_slice(Ref("bench", key.name), SlicePart(key, (subset,)))


class Call:
    """As much of a `h2_call.Call` as ADS uses."""

    peer, identity = "bench", None

    def __init__(self) -> None:
        self.woken = asyncio.Event()

    def wake(self) -> None:
        self.woken.set()


class Loop:
    """Beats once a turn of the event loop."""

    def __init__(self) -> None:
        self._longest = 0.0

    async def beat(self) -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self._longest, last = max(self._longest, now - last), now

    async def stage(self, work: Awaitable[object]) -> dict[str, float]:
        await asyncio.sleep(0.01)
        self._longest, began = 0.0, time.thread_time()
        await work
        await asyncio.sleep(0)
        spent = time.thread_time() - began
        return {"cpu": round(spent * 1000, 1), "held": round(self._longest * 1000, 1)}


async def measure(services: int, endpoints: int) -> dict[str, Any]:
    """All stages."""
    view, loop = JoinedView({}), Loop()
    store = view.new_store(_CLUSTER)
    catalogue = Catalogue(view, MeshConfig(), home=_CLUSTER)
    hub = Hub(catalogue)
    telling = Telling(catalogue.apply, lambda _, found, since: hub.publish(found, since))
    async with collecting_between_bursts() as keep, running_ads(hub), asyncio.TaskGroup() as tasks:
        _fill(store, services, endpoints)
        keep()
        beating = [tasks.create_task(loop.beat()), tasks.create_task(telling.serve())]
        call = Call()
        stream = ads_handlers(hub)[METHODS["sotw"]](cast("Any", call))

        async def join() -> None:
            with view.subscribe(telling):
                view.hold({_CLUSTER: store})
            await telling.told()

        async def ask(type_url: str, *names: str) -> None:
            stream.receive(first_request("sotw", type_url, list(names), node(0, _CLUSTER)))
            answer = stream.take()
            while answer is None:
                await call.woken.wait()
                answer = stream.take()

        clusters = [f"outbound|80||service-{number}.bench.svc.cluster.local" for number in range(services)]
        found: dict[str, Any] = {"services": services, "endpoints of each": endpoints}
        found["a cluster joins"] = await loop.stage(join())
        found["clusters, and all is derived"] = await loop.stage(ask(CLUSTER))
        found["endpoints"] = await loop.stage(ask(ENDPOINT, *clusters))
        found["listeners"] = await loop.stage(ask(LISTENER))
        found["routes"] = await loop.stage(ask(ROUTE, "80"))
        for one in beating:
            one.cancel()
    return found


def main() -> None:
    """See the module."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m bench.first", description=summary)
    parser.add_argument("--services", type=int, nargs="+", default=[500, 10_000])
    parser.add_argument("--endpoints", type=int, default=10, help="of each service")
    options = parser.parse_args()
    found = [asyncio.run(measure(count, options.endpoints)) for count in options.services]
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
