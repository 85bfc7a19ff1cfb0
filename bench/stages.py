"""`python -m bench.stages`: what one changed endpoint costs in each stage, from the watch to the sockets.

One process, no network but socket pairs: reflector, store, joined view, catalogue, hub and HTTP/2 are the
real ones, wired as the control plane wires them. The service that changes has more and more endpoints, in
slices of 100 as Kubernetes makes them. Milliseconds of CPU, medians; JSON on standard output.
"""

import argparse
import gc
import json
import resource
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings

from bench.proxy import CLUSTER, ENDPOINT, METHODS, ack_frame, first_request, node, type_and_nonce
from isthmus.clusters.intake import Intake
from isthmus.clusters.store import ClusterStore
from isthmus.clusters.view import JoinedView
from isthmus.config.mesh import MeshConfig
from isthmus.kube.kinds import ENDPOINT_SLICE, SERVICE
from isthmus.kube.reflector import Reflector
from isthmus.kube.watch import Event, Upserted
from isthmus.model.resources import ScopeChange
from isthmus.model.service import ClusterId, ServiceKey
from isthmus.model.view import Changes
from isthmus.translate.catalogue import Catalogue
from isthmus.xds.ads import ads_handlers
from isthmus.xds.h2_call import Call, End
from isthmus.xds.h2_frames import Frames, Parts
from isthmus.xds.h2_session import HttpSession
from isthmus.xds.hub import Hub
from isthmus.xds.limits import Limits

_CLUSTER = ClusterId("bench")
_SLICE = 100
_NAME = "outbound|80||changing.bench.svc.cluster.local"
_KEY = ServiceKey("bench", "changing")


class Proxy:
    """An `h2_session.Socket` over a pair of sockets, and the proxy at its other end."""

    def __init__(self, host: "Stages", index: int) -> None:
        self.peer, self.paused, self.newcomer = f"proxy {index}", False, False
        self.certificate: bytes | None = None
        self._ours, self._theirs = socket.socketpair()
        for end in (self._ours, self._theirs):
            end.setblocking(False)
        self._received = bytearray()
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        widest = {SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1}
        self._h2.local_settings = Settings(client=True, initial_values=widest)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(2**31 - 1 - 65_535)
        fields = {":method": "POST", ":scheme": "http", ":path": METHODS["sotw"], ":authority": "bench"}
        self._h2.send_headers(1, [*fields.items(), ("content-type", "application/grpc")])
        self.session = HttpSession(host, self)
        for type_url, names in ((CLUSTER, []), (ENDPOINT, [_NAME])):
            self.ask(first_request("sotw", type_url, names, node(index, _CLUSTER)))
        host.pump()
        self.answer()

    def ask(self, message: bytes) -> None:
        self._h2.send_data(1, b"\0" + len(message).to_bytes(4, "big") + message)
        self.session.receive(self._h2.data_to_send())

    def send(self, parts: Parts) -> None:
        data = memoryview(parts[0] if len(parts) == 1 else b"".join(parts))
        while data:
            try:
                data = data[self._ours.send(data) :]
            except BlockingIOError:
                self._read()

    def unused(self) -> None:
        """See `Socket`."""

    def abort(self, end: End) -> None:
        raise RuntimeError(f"a session ended: {end}")

    def _read(self) -> None:
        try:
            while data := self._theirs.recv(1 << 20):
                self._received += data
        except BlockingIOError:
            pass

    def answer(self) -> bytes:
        """Read what was sent, and ACK each message of it; the last one."""
        self._read()
        received, self._received = self._received, bytearray()
        body = bytearray()
        at = 0
        while at < len(received):
            size = int.from_bytes(received[at : at + 3], "big")
            if received[at + 3] == 0:
                body += received[at + 9 : at + 9 + size]
            at += 9 + size
        message = b""
        while body:
            size = int.from_bytes(body[1:5], "big")
            message = bytes(body[5 : 5 + size])
            del body[: 5 + size]
            type_url, nonce = type_and_nonce(message)
            head, tag = ack_frame("sotw", type_url, [_NAME] if type_url == ENDPOINT else [])
            self.ask(head + tag + bytes((len(nonce),)) + nonce)
        return message


class Stages:
    """The whole journey, and the `h2_session.Host` at its end."""

    def __init__(self, endpoints: int, proxies: int) -> None:
        self.limits, self.frames, self.now = Limits(), Frames(), time.monotonic
        self._events: list[Event[Any]] = []
        self._changes: list[tuple[ClusterStore, Changes]] = []
        self._woken: list[Call] = []
        self._version = 0
        self._view = JoinedView({})
        store = self._view.new_store(_CLUSTER)
        self._intake = Intake(store, control_namespace="istio-system", changed=self._changed)
        self._slices = Reflector(ENDPOINT_SLICE, self._events.append)
        services = Reflector(SERVICE, self._events.append)
        ports = [{"name": "tcp", "port": 80, "targetPort": 8080}]
        spec = {"type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": ports}
        services.take_line(self._line("Service", "changing", {"spec": spec}))
        [event] = self._events
        self._intake.service(event)
        self._events.clear()
        self._sizes = [min(_SLICE, endpoints - start) for start in range(0, endpoints, _SLICE)]
        for index in range(len(self._sizes)):
            self._slices.take_line(self._slice(index, f"10.0.{index >> 8}.{index & 255}"))
            self._intake.slice(self._events.pop())
        self._view.hold({_CLUSTER: store})
        self._catalogue = Catalogue(self._view, MeshConfig(), home=_CLUSTER)
        self._hub = Hub(self._catalogue)
        self._handlers = ads_handlers(self._hub)
        self._proxies = [Proxy(self, index) for index in range(proxies)]

    # Host.

    def called(self, call: Call) -> None:
        call.serve(self._handlers[call.request.path])

    def woken(self, call: Call, newcomer: bool) -> None:
        self._woken.append(call)

    def ended(self, call: Call) -> None:
        """See `Host`."""

    def pump(self) -> None:
        while self._woken:
            woken, self._woken = self._woken, []
            for call in woken:
                call.pump()

    # The journey.

    def _changed(self, store: ClusterStore, changes: Changes) -> None:
        self._changes.append((store, changes))

    def _line(self, kind: str, name: str, rest: dict[str, Any]) -> bytes:
        self._version += 1
        labels = {"kubernetes.io/service-name": "changing"}
        metadata = {"name": name, "namespace": "bench", "uid": name, "labels": labels}
        metadata["resourceVersion"] = str(self._version)
        item = {"kind": kind, "metadata": metadata, **rest}
        return json.dumps({"type": "MODIFIED", "object": item}).encode()

    def _slice(self, index: int, first: str) -> bytes:
        addresses = [first, *(f"10.{1 + n}.{index >> 8}.{index & 255}" for n in range(1, self._sizes[index]))]
        conditions = {"ready": True, "serving": True, "terminating": False}
        endpoints = [{"addresses": [one], "conditions": conditions} for one in addresses]
        ports = [{"name": "tcp", "port": 8080, "protocol": "TCP"}]
        rest = {"addressType": "IPv4", "ports": ports, "endpoints": endpoints}
        return self._line("EndpointSlice", f"changing-{index}", rest)

    def change(self, round_: int) -> dict[str, float]:
        """One endpoint changes; what each stage took, in seconds of CPU."""
        line = self._slice(0, f"172.31.{round_ >> 8}.{round_ & 255}")
        spent: dict[str, float] = {}

        def stage(name: str, work: Callable[[], Any]) -> Any:
            began = time.thread_time()
            result = work()
            spent[name] = time.thread_time() - began
            return result

        stage("watch line", lambda: self._slices.take_line(line))
        event = self._events.pop()
        assert isinstance(event, Upserted)
        stage("store", lambda: self._intake.slice(event))
        store, changes = self._changes.pop()
        announced: list[ScopeChange] = []
        with self._view.subscribe(lambda changes: announced.extend(self._catalogue.apply(changes))):
            stage("names", lambda: self._view.changed(store, changes))
        stage("subscribers", lambda: self._hub.publish(announced))
        stage("joined view", lambda: self._view.groups(_KEY))
        stage("assignment", lambda: announced[0].scope.get(ENDPOINT, _NAME))
        stage("bytes and first write", self._woken[0].pump)
        stage("other writes", self.pump)
        received = stage("proxies, not ours", lambda: [one.answer() for one in self._proxies])
        assert all(one and one == received[0] for one in received)
        return spent


def measure(endpoints: int, proxies: int, rounds: int) -> dict[str, float]:
    """Medians in milliseconds, and their sum but for the proxies."""
    stages = Stages(endpoints, proxies)
    gc.collect()
    gc.disable()
    stages.change(0)
    runs = [stages.change(round_) for round_ in range(1, rounds + 1)]
    gc.enable()
    medians = {name: round(statistics.median(run[name] for run in runs) * 1000, 3) for name in runs[0]}
    ours = sum(spent for name, spent in medians.items() if name != "proxies, not ours")
    return {**medians, "sum of ours": round(ours, 3)}


def main() -> None:
    """See the module."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m bench.stages", description=summary)
    parser.add_argument("--endpoints", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    parser.add_argument("--proxies", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    found = {str(count): measure(count, options.proxies, options.rounds) for count in options.endpoints}
    print(json.dumps({"proxies": options.proxies, "milliseconds by endpoints": found}, indent=2))


if __name__ == "__main__":
    main()
