"""Services: defaults, cluster addresses and node ports, and the rules for their fields.

Allocation reads the Services that are stored; nothing else remembers an address. IPv4 and one family only.
Source: Kubernetes "Service" and "Service ClusterIP allocation" (the lower band is left to static addresses).
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Any

from isthmus.lab.apiserver.errors import (
    Cause,
    duplicate,
    forbidden_value,
    invalid_value,
    required,
    unsupported,
)
from isthmus.lab.apiserver.names import (
    label_faults,
    port_faults,
    port_name_faults,
    qualified_name_faults,
    subdomain_faults,
)
from isthmus.lab.apiserver.objects import Object, items, section, strings

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
NODE_PORTS = range(30000, 32768)


def default_service(service: Object) -> None:
    """Fill in a Service as the API server does."""
    spec = service.setdefault("spec", {})
    spec.setdefault("sessionAffinity", "None")
    spec.setdefault("type", "ClusterIP")
    service.setdefault("status", {"loadBalancer": {}})
    for port in items(spec, "ports"):
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port")
    if spec["type"] == "ExternalName":
        return
    spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    if spec["sessionAffinity"] == "ClientIP":
        spec.setdefault("sessionAffinityConfig", {"clientIP": {"timeoutSeconds": 10800}})


def validate_service(service: Object) -> Iterator[Cause]:
    """The faults of a Service, after defaulting."""
    spec = section(service, "spec")
    if spec["type"] not in _TYPES:
        yield unsupported("spec.type", spec["type"], _TYPES)
    headless = spec.get("clusterIP") == "None"
    ports = items(spec, "ports")
    if spec["type"] == "ExternalName":
        yield from _validate_external_name(spec)
    elif not ports and not headless:
        yield required("spec.ports")
    yield from _validate_ports(ports, spec["type"])
    yield from _validate_exposure(spec)
    if headless and spec["type"] in ("NodePort", "LoadBalancer"):
        text = f"may not be set to 'None' for {spec['type']} services"
        yield invalid_value("spec.clusterIPs[0]", "None", text)
    if spec["sessionAffinity"] not in ("ClientIP", "None"):
        yield unsupported("spec.sessionAffinity", spec["sessionAffinity"], ("ClientIP", "None"))


def _validate_external_name(spec: Object) -> Iterator[Cause]:
    name = str(spec.get("externalName", "")).removesuffix(".")
    if not name:
        yield required("spec.externalName")
        return
    for fault in subdomain_faults(name):
        yield invalid_value("spec.externalName", spec["externalName"], fault)
    if spec.get("clusterIP"):
        text = "may not be set when `type` is 'ExternalName'"
        yield Cause("spec.clusterIPs", "FieldValueForbidden", f"Forbidden: {text}")


def _is_exposed(spec: Object) -> bool:
    return spec.get("type") in ("NodePort", "LoadBalancer")


def _validate_exposure(spec: Object) -> Iterator[Cause]:
    """The faults of what leads into a Service from outside of the cluster."""
    addresses, policy = strings(spec, "externalIPs"), spec.get("externalTrafficPolicy", "")
    for index, address in enumerate(addresses):
        try:
            ip_address(address)
        except ValueError:
            text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            yield invalid_value(f"spec.externalIPs[{index}]", address, text)
    if not _is_exposed(spec) and not (spec["type"] == "ClusterIP" and addresses):
        if policy:
            text = "may only be set for externally-accessible services"
            yield invalid_value("spec.externalTrafficPolicy", policy, text)
    elif policy not in ("", "Cluster", "Local"):
        yield unsupported("spec.externalTrafficPolicy", policy, ("Cluster", "Local"))


def _validate_ports(ports: list[Object], type_: str) -> Iterator[Cause]:
    names: set[str] = set()
    numbers: set[tuple[object, object]] = set()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        name = port.get("name", "")
        if not name and len(ports) > 1:
            yield required(f"{at}.name")
        elif name:
            for fault in label_faults(name):
                yield invalid_value(f"{at}.name", name, fault)
            if name in names:
                yield duplicate(f"{at}.name", name)
            names.add(name)
        for fault in port_faults(port.get("port")):
            yield invalid_value(f"{at}.port", port.get("port", 0), fault)
        if port["protocol"] not in _PROTOCOLS:
            yield unsupported(f"{at}.protocol", port["protocol"], _PROTOCOLS)
        target = port.get("targetPort", 0)
        for fault in port_faults(target) if isinstance(target, int) else port_name_faults(target):
            yield invalid_value(f"{at}.targetPort", target, fault)
        for fault in qualified_name_faults(port["appProtocol"]) if "appProtocol" in port else ():
            yield invalid_value(f"{at}.appProtocol", port["appProtocol"], fault)
        if port.get("nodePort") and type_ not in ("NodePort", "LoadBalancer"):
            yield forbidden_value(f"{at}.nodePort", f"may not be used when `type` is '{type_}'")
        number = (port.get("port"), port["protocol"])
        if number in numbers:
            shown = {"Name": "", "Protocol": port["protocol"], "AppProtocol": None, "Port": port.get("port")}
            yield duplicate(at, {**shown, "TargetPort": 0, "NodePort": 0})  # a ServicePort, as Go shows it
        numbers.add(number)


def validate_service_update(service: Object, old: Object) -> Iterator[Cause]:
    """Faults of a change: a cluster address stays for as long as the Service has one."""
    new, was = service["spec"], old["spec"]
    both_addressed = "ExternalName" not in (new["type"], was["type"])
    if both_addressed and was.get("clusterIP") and new.get("clusterIP") != was["clusterIP"]:
        value = new.get("clusterIP", "")
        yield invalid_value("spec.clusterIPs[0]", [value], "may not change once set")


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
    if {new["type"], was.get("type")} <= {"NodePort", "LoadBalancer"}:
        ports = {(one.get("port"), one.get("protocol")): one.get("nodePort") for one in items(was, "ports")}
        for port in items(new, "ports"):
            if not port.get("nodePort") and (held := ports.get((port.get("port"), port["protocol"]))):
                port["nodePort"] = held


def _drop_unneeded(new: Object, was: Object) -> None:
    """What only the old type needs goes with it, unless it was changed too (dropTypeDependentFields)."""
    if _is_exposed(was) and not _is_exposed(new):
        held = {port.get("nodePort") for port in items(was, "ports")}
        if {port.get("nodePort") for port in items(new, "ports")} <= held:
            for port in items(new, "ports"):
                port.pop("nodePort", None)
        if new.get("externalTrafficPolicy") == was.get("externalTrafficPolicy"):
            new.pop("externalTrafficPolicy", None)
    field = "allocateLoadBalancerNodePorts"
    if was.get("type") == "LoadBalancer" != new["type"] and new.get(field) == was.get(field):
        new.pop(field, None)


def allocate(service: Object, others: Iterable[Object], cidr: IPv4Network) -> Iterator[Cause]:
    """Give the Service the addresses and node ports it lacks; faults where one that it asks for cannot be."""
    spec = service["spec"]
    if spec["type"] == "ExternalName":
        return
    if spec.get("ipFamilyPolicy") == "RequireDualStack":
        text = "Cluster is not configured for dual-stack services"
        yield invalid_value("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], text)
        return
    for index, family in enumerate(strings(spec, "ipFamilies")):
        if family != "IPv4":
            yield invalid_value(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")
            return
    others = [one for one in others if one["metadata"]["uid"] != service["metadata"].get("uid")]
    address = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "")
    if address != "None":
        taken = {section(one, "spec").get("clusterIP") for one in others}
        if address:
            yield from _claim(address, taken, cidr)
        else:
            address = str(_free(taken, cidr))
    spec["clusterIP"] = address
    spec["clusterIPs"] = [address]
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if spec["type"] in ("NodePort", "LoadBalancer") and spec.get("allocateLoadBalancerNodePorts", True):
        yield from _allocate_node_ports(spec, others)


def _claim(address: str, taken: set[Any], cidr: IPv4Network) -> Iterator[Cause]:
    try:
        parsed = ip_address(address)
    except ValueError:
        text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        yield invalid_value("spec.clusterIPs[0]", address, text)
        return
    if parsed not in cidr or parsed in (cidr.network_address, cidr.broadcast_address):
        text = f"failed to allocate IP {address}: the provided IP ({address}) is not in the valid range. "
        text += f"The range of valid IPs is {cidr}"
        yield invalid_value("spec.clusterIPs", [address], text)
    elif address in taken:
        text = f"failed to allocate IP {address}: provided IP is already allocated"
        yield invalid_value("spec.clusterIPs", [address], text)


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
