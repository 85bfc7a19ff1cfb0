"""The kinds with few rules: configuration, endpoints, events, leases, roles and the like. Pure."""

import base64
from collections.abc import Iterator
from ipaddress import ip_address

from isthmus.lab.apiserver.errors import (
    Cause,
    forbidden_value,
    invalid_value,
    required,
    unsupported,
)
from isthmus.lab.apiserver.events import validate_observed
from isthmus.lab.apiserver.names import label_faults, port_faults
from isthmus.lab.apiserver.objects import Object, items, metadata, section, strings

_BASIC = "kubernetes.io/basic-auth"
_LEGACY = "kubernetes.io/service-account-token"
_ACCOUNT = "kubernetes.io/service-account.name"
_RBAC = "rbac.authorization.k8s.io"
_LARGEST = 1024 * 1024
_MANDATORY_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def default_namespace(namespace: Object) -> None:
    """A namespace is finalised by its controller, and carries its own name as a label."""
    namespace.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    namespace.setdefault("status", {}).setdefault("phase", "Active")
    meta = namespace["metadata"]
    if meta.get("name"):
        meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = meta["name"]


def default_secret(secret: Object) -> None:
    """`stringData` is written into `data`; the type is Opaque where none is given."""
    secret.setdefault("type", "Opaque")
    plain = section(secret, "stringData")
    secret.pop("stringData", None)
    if plain:
        data = section(secret, "data")
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
        secret["data"] = {**data, **encoded}


def validate_secret(secret: Object) -> Iterator[Cause]:
    """The faults of a Secret."""
    size = sum(len(value) * 3 // 4 for value in section(secret, "data").values())
    yield from _validate_keys(secret, "data")
    if size > _LARGEST:
        yield Cause("data", "FieldValueTooLong", f"Too long: may not be more than {_LARGEST} bytes")
    account = section(metadata(secret), "annotations").get(_ACCOUNT)
    if secret["type"] == _LEGACY and not account:
        yield required(f"metadata.annotations[{_ACCOUNT}]")
    if secret["type"] == _BASIC and not {"username", "password"} & section(secret, "data").keys():
        yield from (required(f"data[{key}]") for key in ("username", "password"))
    for key in _MANDATORY_KEYS.get(secret["type"], ()):
        if key not in section(secret, "data"):
            yield required(f"data[{key}]")


def validate_secret_update(secret: Object, old: Object) -> Iterator[Cause]:
    """Faults of a change: the type stays, and an immutable Secret stays wholly."""
    if secret["type"] != old["type"]:
        yield invalid_value("type", secret["type"], "field is immutable")
    yield from validate_immutable_data(secret, old)


def validate_config_map(config_map: Object) -> Iterator[Cause]:
    """The faults of a ConfigMap."""
    yield from _validate_keys(config_map, "data")
    yield from _validate_keys(config_map, "binaryData")
    both = set(section(config_map, "data")) & set(section(config_map, "binaryData"))
    for key in sorted(both):
        yield invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData")
    size = sum(len(str(value)) for value in section(config_map, "data").values())
    if size > _LARGEST:
        yield Cause("", "FieldValueTooLong", f"Too long: may not be more than {_LARGEST} bytes")


def validate_immutable_data(object_: Object, old: Object) -> Iterator[Cause]:
    """Faults of a change to a Secret or ConfigMap that is marked immutable."""
    if not old.get("immutable"):
        return
    if not object_.get("immutable"):
        yield forbidden_value("immutable", "field is immutable when `immutable` is set")
    for field in ("data", "binaryData"):
        if section(object_, field) != section(old, field):
            yield forbidden_value(field, "field is immutable when `immutable` is set")


def _validate_keys(object_: Object, field: str) -> Iterator[Cause]:
    text = (
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
        "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
    )
    for key in section(object_, field):
        if (
            not key
            or len(key) > 253
            or not all(one.isascii() and (one.isalnum() or one in "-._") for one in key)
        ):
            yield invalid_value(f"{field}[{key}]", key, text)


def default_endpoints(endpoints: Object) -> None:
    """A port's protocol is TCP where none is given."""
    for subset in items(endpoints, "subsets"):
        for port in items(subset, "ports"):
            port.setdefault("protocol", "TCP")


def validate_endpoints(endpoints: Object) -> Iterator[Cause]:
    """The faults of Endpoints."""
    for index, subset in enumerate(items(endpoints, "subsets")):
        at = f"subsets[{index}]"
        if not items(subset, "addresses") and not items(subset, "notReadyAddresses"):
            yield required(at, "must specify `addresses` or `notReadyAddresses`")
        for field in ("addresses", "notReadyAddresses"):
            for position, address in enumerate(items(subset, field)):
                yield from _validate_address(address.get("ip", ""), f"{at}.{field}[{position}].ip")
        for position, port in enumerate(items(subset, "ports")):
            if not port.get("name") and len(items(subset, "ports")) > 1:
                yield required(f"{at}.ports[{position}].name")
            for fault in port_faults(port.get("port")):
                yield invalid_value(f"{at}.ports[{position}].port", port.get("port", 0), fault)


def _validate_address(address: str, path: str) -> Iterator[Cause]:
    try:
        parsed = ip_address(address)
    except ValueError:
        yield invalid_value(path, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
        return
    for refused, text in (
        (parsed.is_unspecified, f"may not be unspecified ({address})"),
        (parsed.is_loopback, "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (parsed.is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
    ):
        if refused:
            yield invalid_value(path, address, text)


def default_endpoint_slice(slice_: Object) -> None:
    """A port's protocol is TCP and its name empty where none is given."""
    for port in items(slice_, "ports"):
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")
    slice_.setdefault("endpoints", [])
    slice_.setdefault("ports", None)


def validate_endpoint_slice(slice_: Object) -> Iterator[Cause]:
    """The faults of an EndpointSlice."""
    kind = slice_.get("addressType")
    if not kind:
        yield required("addressType")
    elif kind not in ("FQDN", "IPv4", "IPv6"):
        yield unsupported("addressType", kind, ("FQDN", "IPv4", "IPv6"))
    endpoints = items(slice_, "endpoints")
    if len(endpoints) > 1000:
        yield Cause(
            "endpoints", "FieldValueTooMany", f"Too many: {len(endpoints)}: must have at most 1000 items"
        )
    for index, endpoint in enumerate(endpoints):
        addresses = strings(endpoint, "addresses")
        if not addresses:
            yield required(f"endpoints[{index}].addresses", "must contain at least 1 address")
        for position, address in enumerate(addresses):
            at = f"endpoints[{index}].addresses[{position}]"
            if kind in ("IPv4", "IPv6"):
                yield from _validate_family(address, kind, at)
    for index, port in enumerate(items(slice_, "ports")):
        if port["name"]:
            for fault in label_faults(port["name"]):
                yield invalid_value(f"ports[{index}].name", port["name"], fault)


def _validate_family(address: str, kind: str, path: str) -> Iterator[Cause]:
    yield from _validate_address(address, path)
    try:
        if ip_address(address).version != int(kind[-1]):
            yield invalid_value(path, address, f"must be an {kind} address")
    except ValueError:
        return


def validate_endpoint_slice_update(slice_: Object, old: Object) -> Iterator[Cause]:
    """Faults of a change: the type of address stays."""
    if slice_.get("addressType") != old.get("addressType"):
        yield invalid_value("addressType", slice_.get("addressType"), "field is immutable")


def default_binding(binding: Object) -> None:
    """A subject's API group follows from its kind, as does that of the role."""
    section(binding, "roleRef").setdefault("apiGroup", _RBAC)
    for subject in items(binding, "subjects"):
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", _RBAC)


def validate_role(role: Object) -> Iterator[Cause]:
    """The faults of a Role or ClusterRole."""
    for index, rule in enumerate(items(role, "rules")):
        at = f"rules[{index}]"
        if not rule.get("verbs"):
            yield required(f"{at}.verbs", "verbs must contain at least one value")
        if rule.get("nonResourceURLs"):
            if "namespace" in metadata(role):
                text = "namespaced rules cannot apply to non-resource URLs"
                yield invalid_value(f"{at}.nonResourceURLs", rule["nonResourceURLs"], text)
            continue
        if not rule.get("apiGroups"):
            yield required(f"{at}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{at}.resources", "resource rules must supply at least one resource")


def validate_binding(binding: Object) -> Iterator[Cause]:
    """The faults of a RoleBinding or ClusterRoleBinding."""
    role = section(binding, "roleRef")
    if role.get("apiGroup") != _RBAC:
        yield unsupported("roleRef.apiGroup", role.get("apiGroup", ""), (_RBAC,))
    kinds = ("Role", "ClusterRole") if "namespace" in metadata(binding) else ("ClusterRole",)
    if role.get("kind") not in kinds:
        yield unsupported("roleRef.kind", role.get("kind", ""), kinds)
    if not role.get("name"):
        yield required("roleRef.name")
    for index, subject in enumerate(items(binding, "subjects")):
        at = f"subjects[{index}]"
        if not subject.get("name"):
            yield required(f"{at}.name")
        match subject.get("kind"):
            case "ServiceAccount":
                if not subject.get("namespace"):
                    yield required(f"{at}.namespace")
            case "User" | "Group":
                pass
            case other:
                yield unsupported(f"{at}.kind", other or "", ("ServiceAccount", "User", "Group"))


def validate_binding_update(binding: Object, old: Object) -> Iterator[Cause]:
    """Faults of a change: the role that is bound stays."""
    if binding["roleRef"] != old["roleRef"]:
        yield invalid_value("roleRef", str(binding["roleRef"]), "cannot change roleRef")


def default_event(event: Object) -> None:
    """The fields that every Event shows, empty where nothing is known."""
    for field in ("source", "involvedObject"):
        event.setdefault(field, {})
    for field in ("firstTimestamp", "lastTimestamp", "eventTime"):
        event.setdefault(field, None)
    event.setdefault("reportingComponent", "")
    event.setdefault("reportingInstance", "")


def validate_event(event: Object) -> Iterator[Cause]:
    """The faults of an Event: it lies in the namespace of what it is about."""
    about = event["involvedObject"].get("namespace") or "default"
    if metadata(event).get("namespace") != about:
        yield invalid_value("involvedObject.namespace", about, "does not match event.namespace")
    yield from validate_observed(event)


def validate_lease(lease: Object) -> Iterator[Cause]:
    """The faults of a Lease."""
    seconds = section(lease, "spec").get("leaseDurationSeconds")
    if seconds is not None and (not isinstance(seconds, int) or seconds <= 0):
        yield invalid_value("spec.leaseDurationSeconds", seconds, "must be greater than 0")
    transitions = section(lease, "spec").get("leaseTransitions", 0)
    if transitions < 0:
        yield invalid_value("spec.leaseTransitions", transitions, "must be greater than or equal to 0")


def validate_service_cidr(service_cidr: Object) -> Iterator[Cause]:
    """The faults of a ServiceCIDR: it has one range, or one of each family."""
    if not strings(section(service_cidr, "spec"), "cidrs"):
        yield required("spec.cidrs", "at least one CIDR required")


def validate_service_cidr_update(service_cidr: Object, old: Object) -> Iterator[Cause]:
    """Faults of a change: ranges stay; one alone may get the other family's beside it."""
    now, before = (strings(section(one, "spec"), "cidrs") for one in (service_cidr, old))
    if len(now) != len(before) and (len(before), len(now)) != (1, 2):
        yield invalid_value("spec.cidrs", now, "field is immutable")
        return
    for index, (one, was) in enumerate(zip(now, before, strict=False)):
        if one != was:
            yield invalid_value(f"spec.cidrs[{index}]", one, "field is immutable")


def default_budget(budget: Object) -> None:
    """A new budget has a status that nobody has observed."""
    counts = ("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods")
    budget.setdefault("status", dict.fromkeys(counts, 0))


def validate_budget(budget: Object) -> Iterator[Cause]:
    """The faults of a PodDisruptionBudget."""
    spec = section(budget, "spec")
    if "minAvailable" in spec and "maxUnavailable" in spec:
        shown = {  # as Go shows it
            "MinAvailable": spec["minAvailable"],
            "Selector": spec.get("selector"),
            "MaxUnavailable": spec["maxUnavailable"],
            "UnhealthyPodEvictionPolicy": spec.get("unhealthyPodEvictionPolicy"),
        }
        yield invalid_value("spec", shown, "minAvailable and maxUnavailable cannot be both set")


def default_node(node: Object) -> None:
    """A node has a spec and a status, be they empty."""
    node.setdefault("spec", {})
    node.setdefault("status", {})
