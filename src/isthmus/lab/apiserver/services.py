"""Services: their defaults, and the rules for their fields. Pure.

Source: Kubernetes "Service" and its validation. What they are given is in `allocation`.
"""

from collections.abc import Iterator
from ipaddress import ip_address

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


def is_exposed(spec: Object) -> bool:
    """Whether something leads to the Service from outside of the cluster by its type."""
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
    if not is_exposed(spec) and not (spec["type"] == "ClusterIP" and addresses):
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
