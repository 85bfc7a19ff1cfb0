"""Small Kubernetes objects for the node's tests."""

from typing import Any

import msgspec

from isthmus.kube.objects import EndpointSlice, Service
from isthmus.lab.node.endpoints import Services
from isthmus.lab.node.environment import Placement
from isthmus.lab.node.podspec import Pod

PLACEMENT = Placement("10.213.4.2", "10.213.0.2", "west-node", {"cpu": "2", "memory": "1024Ki"})


def pod(spec: dict[str, Any] | None = None, **metadata: Any) -> Pod:
    """A Pod demo/web with one container, unless told otherwise."""
    whole = {"name": "web", "namespace": "demo", "uid": "u1"} | metadata
    spec = {"containers": [{"name": "c", "image": "isthmus/echo", "command": ["run"]}]} | (spec or {})
    return msgspec.convert({"metadata": whole, "spec": spec}, Pod)


def service(name: str = "web", ip: str = "10.213.8.20", **spec: Any) -> Service:
    """A Service in namespace demo with port http (80)."""
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    body = {"clusterIP": ip, "ports": ports} | spec
    return msgspec.convert({"metadata": {"name": name, "namespace": "demo"}, "spec": body}, Service)


def slice_of(name: str, *endpoints: dict[str, Any], port: int = 8080, suffix: str = "1") -> EndpointSlice:
    """A slice of Service demo/NAME."""
    meta = {"name": f"{name}-{suffix}", "namespace": "demo", "labels": {"kubernetes.io/service-name": name}}
    ports = [{"name": "http", "port": port, "protocol": "TCP"}]
    body = {"metadata": meta, "addressType": "IPv4", "endpoints": list(endpoints), "ports": ports}
    return msgspec.convert(body, EndpointSlice)


def endpoint(address: str, **conditions: bool) -> dict[str, Any]:
    """An endpoint, ready unless told otherwise."""
    return {"addresses": [address], "conditions": {"ready": True} | conditions}


def services(*objects: Service | EndpointSlice) -> Services:
    """What the watches would have told."""
    known = Services()
    for each in objects:
        if isinstance(each, Service):
            known.put_service(each)
        else:
            known.put_slice(each)
    return known
