"""`python -m bench.mocked`: API servers of many remote clusters in one process, as cheap as it goes.

Cluster N is below the path /N. It has SERVICES services of ENDPOINTS endpoints, each with its Pod; every
service is in two clusters. The first line on standard output is the port; then JSON lines tell what to do:

{"do": "change", "clusters": N, "every": S}   replace one pod in each of the first N clusters every S seconds;
                                              S null: no more
{"do": "replace", "cluster": N, "address": A} replace one pod; the answer has the time of the watch's write
{"do": "hang", "cluster": N}                  cluster N accepts, and never says anything again
Times are `time.monotonic()`. It is no API server to be believed in anything else: it forgets what was before,
and answers every write with 403.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import uvloop
from aiohttp import web

SERVICES, ENDPOINTS = 10, 100
PER_CLUSTER = SERVICES * ENDPOINTS
NAMESPACE = "bench"
_BOOKMARKS = 60.0
_NODES = 10
Json = dict[str, Any]


def service_name(cluster: int, number: int) -> str:
    """Half of a cluster's services are in the next cluster, too."""
    return f"service-{cluster * SERVICES // 2 + number}"


class Remote:
    """One cluster: which pod has which address, and who watches."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.version = 1000
        self.hangs = asyncio.Event()
        self._addresses = [
            [f"10.{number}.{index}.{host}" for host in range(ENDPOINTS)] for index in range(SERVICES)
        ]
        self._turn = 0
        self._watches: dict[str, set[asyncio.Transport]] = {}

    def items(self, plural: str) -> Iterator[Json]:
        """All objects of a kind."""
        match plural:
            case "services":
                yield from (self._service(index) for index in range(SERVICES))
            case "endpointslices":
                yield from (self._slice(index) for index in range(SERVICES))
            case "pods":
                for index in range(SERVICES):
                    yield from (self._pod(index, address) for address in self._addresses[index])
            case "nodes":
                yield from (self._node(index) for index in range(_NODES))
            case "namespaces":
                yield self._object("kube-system", "", f"uid-of-cluster-{self.number}")
                yield self._object(NAMESPACE, "", f"uid-of-bench-{self.number}")
            case _:
                return

    def replace_one(self, address: str = "") -> float:
        """Another pod behind one of the services; when the watches were told."""
        self._turn += 1
        index, host = self._turn % SERVICES, self._turn // SERVICES % ENDPOINTS
        old = self._addresses[index][host]
        new = address or f"10.{self.number}.{100 + self._turn // 250 % 150}.{self._turn % 250}"
        self._addresses[index][host] = new
        self._tell("pods", "ADDED", self._pod(index, new))
        began = time.monotonic()
        self._tell("endpointslices", "MODIFIED", self._slice(index))
        self._tell("pods", "DELETED", self._pod(index, old))
        return began

    def bookmark(self) -> None:
        """Tell every watch how far it is."""
        for plural in self._watches:
            self._tell(plural, "BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}})

    def _tell(self, plural: str, change: str, item: Json) -> None:
        if self.hangs.is_set():
            return
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        line = json.dumps({"type": change, "object": item}).encode() + b"\n"
        chunk = b"%x\r\n%b\r\n" % (len(line), line)  # RFC 9112, 7.1: one write a watch, no task
        for transport in self._watches.get(plural, ()):
            transport.write(chunk)

    async def watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        """An open watch, until the client goes."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        watches, transport = self._watches.setdefault(plural, set()), request.transport
        assert transport is not None
        watches.add(transport)
        try:
            await asyncio.sleep(float(request.query.get("timeoutSeconds", "300")))
        finally:
            watches.discard(transport)
        return response

    def _object(self, name: str, namespace: str, uid: str, **labels: str) -> Json:
        metadata: Json = {"name": name, "uid": uid, "resourceVersion": str(self.version), "labels": labels}
        if namespace:
            metadata["namespace"] = namespace
        return {"metadata": metadata}

    def _service(self, index: int) -> Json:
        name = service_name(self.number, index)
        made = self._object(name, NAMESPACE, f"uid-{name}-{self.number}", app=name)
        ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]
        return made | {"spec": {"clusterIP": f"10.96.{self.number}.{index}", "ports": ports}}

    def _pod(self, index: int, address: str) -> Json:
        name = self._pod_name(index, address)
        app = service_name(self.number, index)
        made = self._object(name, NAMESPACE, f"uid-{name}-{self.number}", app=app, version="v1")
        spec: Json = {
            "nodeName": f"node-{hash(address) % _NODES}",
            "serviceAccountName": app,
            "containers": [],
        }
        ready = {"type": "Ready", "status": "True"}
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [ready]}
        return made | {"spec": spec, "status": status}

    def _pod_name(self, index: int, address: str) -> str:
        return f"{service_name(self.number, index)}-{address.replace('.', '-')}"

    def _slice(self, index: int) -> Json:
        name = service_name(self.number, index)
        labels = {"kubernetes.io/service-name": name}
        made = self._object(f"{name}-{self.number}", NAMESPACE, f"uid-slice-{name}-{self.number}", **labels)
        endpoints = [
            {
                "addresses": [address],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": f"node-{hash(address) % _NODES}",
                "targetRef": {
                    "kind": "Pod",
                    "namespace": NAMESPACE,
                    "name": self._pod_name(index, address),
                },
            }
            for address in self._addresses[index]
        ]
        ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
        return made | {"addressType": "IPv4", "ports": ports, "endpoints": endpoints}

    def _node(self, index: int) -> Json:
        region, zone = f"region-{self.number % 4}", f"zone-{self.number % 4}-{index % 3}"
        labels = {"topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone}
        return self._object(f"node-{index}", "", f"uid-node-{index}-{self.number}", **labels)


class Mocked:
    """All clusters, made as they are first asked for, and the orders about them."""

    def __init__(self) -> None:
        self._remotes: dict[int, Remote] = {}
        self._changing: asyncio.Task[None] | None = None

    def remote(self, number: int) -> Remote:
        """The cluster of that number."""
        if number not in self._remotes:
            self._remotes[number] = Remote(number)
        return self._remotes[number]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        _, number, *parts = request.path.split("/")
        remote = self.remote(int(number))
        if remote.hangs.is_set():
            await asyncio.Event().wait()
        if request.method != "GET":
            return _failure(403, "Forbidden")
        match parts:
            case ["readyz"]:
                return web.Response(text="ok")
            case ["version"]:
                return web.json_response({"gitVersion": "v1.31.0"})
            case ["apis", "discovery.k8s.io", "v1"]:
                return web.json_response({"resources": [{"name": "endpointslices"}]})
            case ["api", "v1", plural] | ["apis", "discovery.k8s.io", "v1", plural]:
                if request.query.get("watch"):
                    return await remote.watch(request, plural)
                items = [] if request.query.get("limit") == "1" else list(remote.items(plural))
                return web.json_response(
                    {"items": items, "metadata": {"resourceVersion": str(remote.version)}}
                )
            case _:
                return _failure(404, "NotFound")

    def change(self, clusters: int, every: float | None) -> None:
        """Begin or end changing."""
        if self._changing is not None:
            self._changing.cancel()
            self._changing = None
        if every is not None:
            self._changing = asyncio.ensure_future(self._change(clusters, every))

    async def _change(self, clusters: int, every: float) -> None:
        """One cluster after the other, evenly over each period, and no burst where one came late."""
        pause, number = every / clusters, 0
        due = time.monotonic()
        while True:
            self.remote(number % clusters).replace_one()
            number += 1
            due = max(due + pause, time.monotonic() - every)
            await asyncio.sleep(due - time.monotonic())

    async def bookmarks(self) -> None:
        """Bookmarks of all watches, as a real API server sends them."""
        while True:
            await asyncio.sleep(_BOOKMARKS)
            for remote in self._remotes.values():
                remote.bookmark()


def _failure(code: int, reason: str) -> web.Response:
    status = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason}
    return web.json_response(status, status=code)


async def _serve() -> None:
    mocked = Mocked()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", mocked.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    bookmarks = asyncio.ensure_future(mocked.bookmarks())
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order: Json = json.loads(line)
        answer: Json = {}
        if order["do"] == "change":
            mocked.change(order["clusters"], order["every"])
        elif order["do"] == "replace":
            answer = {"began": mocked.remote(order["cluster"]).replace_one(order["address"])}
        elif order["do"] == "hang":
            mocked.remote(order["cluster"]).hangs.set()
        print(json.dumps(answer), flush=True)
    bookmarks.cancel()


if __name__ == "__main__":
    uvloop.run(_serve())
