"""What a Service is given when it is stored: cluster addresses and node ports, and how it keeps them.

Allocation reads the Services that are stored; nothing else remembers an address.
Source: `allocateCreate`, `patchAllocatedValues` and `dropTypeDependentFields` of k8s.io/kubernetes,
pkg/registry/core/service, and Kubernetes "Service ClusterIP allocation" (the lower band is left to static
addresses).
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Any

from isthmus.lab.apiserver.errors import Cause, invalid_value
from isthmus.lab.apiserver.families import settle_families
from isthmus.lab.apiserver.objects import Object, items, section
from isthmus.lab.apiserver.services import is_exposed

NODE_PORTS = range(30000, 32768)


def keep_allocated(service: Object, old: Object) -> None:
    """Carry over what the client left out of an update because the server had allocated it."""
    new, was = service["spec"], section(old, "spec")
    _drop_unneeded(new, was)
    if "ExternalName" in (new["type"], was.get("type")):
        if new["type"] == "ExternalName" and new.get("clusterIP") == was.get("clusterIP"):
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
                new.pop(field, None)
        return
    if not new.get("clusterIP"):
        new["clusterIP"] = was.get("clusterIP", "")
    for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if field in was:
            new.setdefault(field, was[field])
    if new["clusterIP"] != was.get("clusterIP") and new.get("clusterIPs") == was.get("clusterIPs"):
        new["clusterIPs"] = [new["clusterIP"]]  # by a client that knows of one only
    if {new["type"], was.get("type")} <= {"NodePort", "LoadBalancer"}:
        given = {port.get("nodePort") for port in items(new, "ports")}
        held = {one.get("name", ""): one.get("nodePort") for one in items(was, "ports")}
        for port in items(new, "ports"):
            number = held.get(port.get("name", ""))
            if number and not port.get("nodePort") and number not in given:
                port["nodePort"] = number


def _drop_unneeded(new: Object, was: Object) -> None:
    """What only the old type needs goes with it, unless it was changed too (dropTypeDependentFields)."""
    if is_exposed(was) and not is_exposed(new):
        held = {port.get("nodePort") for port in items(was, "ports")}
        if {port.get("nodePort") for port in items(new, "ports")} <= held:
            for port in items(new, "ports"):
                port.pop("nodePort", None)
        if new.get("externalTrafficPolicy") == was.get("externalTrafficPolicy"):
            new.pop("externalTrafficPolicy", None)
    field = "allocateLoadBalancerNodePorts"
    if was.get("type") == "LoadBalancer" != new["type"] and new.get(field) == was.get(field):
        new.pop(field, None)


def allocate(
    service: Object, old: Object | None, others: Iterable[Object], cidr: IPv4Network
) -> Iterator[Cause]:
    """Give the Service what it lacks; faults where something that it asks for cannot be had.

    `old` is what it would replace, `others` are all Services that are stored.
    """
    spec = service["spec"]
    if spec["type"] == "ExternalName":
        return
    faults = list(settle_families(service, old))
    if faults:
        yield from faults
        return
    others = [one for one in others if one["metadata"]["uid"] != service["metadata"].get("uid")]
    address = spec.get("clusterIP", "")
    if address != "None":
        taken = {section(one, "spec").get("clusterIP") for one in others}
        if not section(old or {}, "spec").get("clusterIP"):
            yield from _claim(address, taken, cidr) if address else ()
        if not address:
            address = str(_free(taken, cidr))
    spec["clusterIP"], spec["clusterIPs"] = address, [address]
    if is_exposed(spec) and spec.get("allocateLoadBalancerNodePorts", True):
        yield from _allocate_node_ports(spec, others)


def _claim(address: str, taken: set[Any], cidr: IPv4Network) -> Iterator[Cause]:
    """Faults where an address, which is one, cannot be had (`MetaAllocator`)."""
    parsed = ip_address(address)
    if parsed not in cidr or parsed in (cidr.network_address, cidr.broadcast_address):
        why = "the provided network does not match the current range"
    elif address in taken:
        why = "provided IP is already allocated"
    else:
        return
    yield invalid_value("spec.clusterIPs", [address], f"failed to allocate IP {address}: {why}")


def _free(taken: set[Any], cidr: IPv4Network) -> IPv4Address:
    """The first free address above the static band, else within it; the tenth is the cluster's DNS."""
    size = cidr.num_addresses - 2
    band = min(max(16, size // 16), 256)
    first = int(cidr.network_address)
    for offset in (*range(band + 1, size + 1), *range(2, band + 1)):
        address = IPv4Address(first + offset)
        if offset != 10 and str(address) not in taken:
            return address
    raise LookupError(f"no address is free in {cidr}")


def _allocate_node_ports(spec: Object, others: list[Object]) -> Iterator[Cause]:
    taken = {port.get("nodePort") for one in others for port in items(section(one, "spec"), "ports")}
    for index, port in enumerate(items(spec, "ports")):
        wanted = port.get("nodePort")
        if not wanted:
            port["nodePort"] = next(number for number in NODE_PORTS if number not in taken)
        elif wanted in taken:
            yield invalid_value(f"spec.ports[{index}].nodePort", wanted, "provided port is already allocated")
        elif wanted not in NODE_PORTS:
            text = "provided port is not in the valid range. The range of valid ports is 30000-32767"
            yield invalid_value(f"spec.ports[{index}].nodePort", wanted, text)
        taken.add(port["nodePort"])
