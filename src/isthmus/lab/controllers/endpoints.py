"""Who stands behind a Service: endpoints, their ports and health, out of Pods and Nodes. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from isthmus.lab.controllers.objects import (
    Object,
    entries,
    is_finished,
    is_ready,
    is_terminating,
    key_of,
    section,
    uid_of,
)

ZONE_LABEL = "topology.kubernetes.io/zone"


class EndpointPort(NamedTuple):
    """One port that a group of endpoints shares."""

    name: str
    port: int | None
    protocol: str
    app_protocol: str | None = None

    def to_json(self) -> Object:
        """The port as EndpointSlices and Endpoints write it."""
        body: Object = {"name": self.name, "port": self.port, "protocol": self.protocol}
        return {**body, "appProtocol": self.app_protocol} if self.app_protocol else body


Ports = tuple[EndpointPort, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """One Pod behind a Service, with the ports that the Service's names resolve to in it."""

    pod: Object
    ports: Ports
    ready: bool
    serving: bool
    terminating: bool
    zone: str

    @property
    def address(self) -> str:
        """The pod's primary address."""
        return self.pod["status"]["podIP"]

    def _target(self) -> Object:
        key = key_of(self.pod)
        return {"kind": "Pod", "namespace": key.namespace, "name": key.name, "uid": uid_of(self.pod)}

    def _hostname(self, service: str) -> Object:
        spec = self.pod["spec"]
        named = spec.get("hostname") and spec.get("subdomain") == service
        return {"hostname": spec["hostname"]} if named else {}

    def to_slice_endpoint(self, service: str) -> Object:
        """Its entry in an EndpointSlice (discovery.k8s.io/v1)."""
        return {
            "addresses": [self.address],
            "conditions": {"ready": self.ready, "serving": self.serving, "terminating": self.terminating},
            "nodeName": self.pod["spec"].get("nodeName", ""),
            "targetRef": self._target(),
            **({"zone": self.zone} if self.zone else {}),
            **self._hostname(service),
        }

    def to_address(self, service: str) -> Object:
        """Its entry in an Endpoints subset (core/v1)."""
        node = self.pod["spec"].get("nodeName", "")
        return {
            "ip": self.address,
            "nodeName": node,
            "targetRef": self._target(),
            **self._hostname(service),
        }


def derive_members(service: Object, pods: Iterable[Object], zone_of: Callable[[str], str]) -> list[Member]:
    """The selected Pods that have an address and have not finished, sorted by name."""
    spec = service["spec"]
    publish = bool(spec.get("publishNotReadyAddresses"))
    members: list[Member] = []
    for pod in sorted(pods, key=key_of):
        if not section(pod, "status").get("podIP") or is_finished(pod):
            continue
        serving, terminating = is_ready(pod), is_terminating(pod)
        ports = tuple(resolved for port in entries(spec, "ports") for resolved in _resolve(port, pod))
        members.append(
            Member(
                pod,
                ports,
                ready=publish or (serving and not terminating),
                serving=serving,
                terminating=terminating,
                zone=zone_of(pod["spec"].get("nodeName", "")),
            )
        )
    return members


def _resolve(port: Object, pod: Object) -> Sequence[EndpointPort]:
    """The port in this Pod; none where a named target port is not declared by any of its containers."""
    target, protocol = port.get("targetPort", port["port"]), port.get("protocol", "TCP")
    found: int | None = target if isinstance(target, int) else None
    if isinstance(target, str):
        for container in [*pod["spec"].get("containers", []), *pod["spec"].get("initContainers", [])]:
            for declared in entries(container, "ports"):
                if declared.get("name") == target and declared.get("protocol", "TCP") == protocol:
                    found = int(declared["containerPort"])
                    break
    if found is None:
        return ()
    return (EndpointPort(port.get("name", ""), found, protocol, port.get("appProtocol")),)


def derive_subsets(service: str, members: Sequence[Member]) -> list[Object]:
    """The subsets of the Service's Endpoints: pods with equal ports together, terminating ones left out."""
    groups: dict[Ports, list[Member]] = {}
    for member in members:
        if member.ready or not member.terminating:
            groups.setdefault(member.ports, []).append(member)
    subsets: list[Object] = []
    for ports, group in sorted(groups.items()):
        subset: Object = {}
        ready = [member.to_address(service) for member in group if member.ready]
        unready = [member.to_address(service) for member in group if not member.ready]
        if ready:
            subset["addresses"] = ready
        if unready:
            subset["notReadyAddresses"] = unready
        if ports:
            subset["ports"] = [port.to_json() for port in ports]
        subsets.append(subset)
    return subsets
