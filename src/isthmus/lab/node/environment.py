"""A container's environment variables and the fields of its Pod, as Kubernetes derives them. Pure.

Of the variables that tell of Services, those with host and port are made, Docker's old link variables are
not.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from isthmus.kube.objects import Service
from isthmus.lab.node.podspec import Container, EnvSource, KeyRef, Pod, ResourceRef

Lookup: TypeAlias = Callable[[str, str], Mapping[str, bytes] | None]
"""("ConfigMap" or "Secret", name) in the pod's namespace → its data, None where there is no such object."""
_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z0-9]+)\)")
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_SUFFIXES = {"m": Decimal("0.001"), "": Decimal(1)} | {
    suffix: Decimal(base) ** power
    for base, suffixes in (
        (1000, ("k", "M", "G", "T", "P", "E")),
        (1024, ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")),
    )
    for power, suffix in enumerate(suffixes, start=1)
}


class ConfigMissingError(LookupError):
    """A ConfigMap, a Secret or a key of one is missing: the container waits. `str(error)` names it."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a pod runs, as its containers may ask: addresses, and what the node has of each resource."""

    pod_address: str
    node_address: str
    node_name: str
    capacity: Mapping[str, str]


def resolve_env(
    pod: Pod, container: Container, placement: Placement, lookup: Lookup, services: Mapping[str, str]
) -> dict[str, str]:
    """All variables: those of Services, then `envFrom`, then `env`; later ones win.

    Raises ConfigMissingError, or ValueError naming a field that cannot be told.
    """
    found = dict(services)
    for source in container.env_from:
        for kind, ref in (("ConfigMap", source.config_map_ref), ("Secret", source.secret_ref)):
            if ref is None:
                continue
            data = lookup(kind, ref.name)
            if data is None and not ref.optional:
                raise ConfigMissingError(f'{kind.lower()} "{ref.name}" not found')
            pairs = (
                (source.prefix + key, value.decode(errors="replace")) for key, value in (data or {}).items()
            )
            found.update((name, value) for name, value in pairs if _VARIABLE.fullmatch(name))
    for variable in container.env:
        if variable.value_from is None:
            found[variable.name] = expand(variable.value, found)
        elif (value := _value_from(variable.value_from, pod, container, placement, lookup)) is not None:
            found[variable.name] = value
    return found


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` becomes the value of a known variable, `$$` a dollar (Kubernetes: dependent variables)."""

    def replacement(match: re.Match[str]) -> str:
        name = match[1]
        return "$" if name is None else variables.get(name, match[0])

    return _REFERENCE.sub(replacement, text)


def field_value(pod: Pod, path: str, placement: Placement) -> str:
    """A field as the downward API tells it; ValueError names one that it does not."""
    meta = pod.metadata
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return (meta.labels if match[1] == "labels" else meta.annotations).get(match[2], "")
    known = {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": meta.uid,
        "metadata.labels": _lines(meta.labels),
        "metadata.annotations": _lines(meta.annotations),
        "spec.nodeName": placement.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.podIP": placement.pod_address,
        "status.podIPs": placement.pod_address,
        "status.hostIP": placement.node_address,
        "status.hostIPs": placement.node_address,
    }
    if path not in known:
        raise ValueError(f"fieldRef {path!r} is no field that a pod can be told")
    return known[path]


def resource_value(container: Container, ref: ResourceRef, placement: Placement) -> str:
    """A request or limit in units of the divisor, rounded up; without a limit, what the node has."""
    which, _, name = ref.resource.partition(".")
    if which not in ("limits", "requests") or not name:
        raise ValueError(f"resourceFieldRef {ref.resource!r} is no resource that a pod can be told")
    own = container.resources.limits if which == "limits" else container.resources.requests
    amount = own.get(name, placement.capacity.get(name, "0") if which == "limits" else "0")
    divisor = quantity(str(ref.divisor)) or Decimal(1)
    return str(math.ceil(quantity(str(amount)) / divisor))


def quantity(text: str) -> Decimal:
    """A Kubernetes quantity such as `250m`, `1Gi` or `1e3` as a number; ValueError where it is none."""
    match = re.fullmatch(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([a-zA-Z]*)", text)
    if match is None or match[2] not in _SUFFIXES:
        raise ValueError(f"{text!r} is no quantity")
    return Decimal(match[1]) * _SUFFIXES[match[2]]


def service_variables(services: Iterable[Service]) -> dict[str, str]:
    """`NAME_SERVICE_HOST` and `NAME_SERVICE_PORT[_PORTNAME]` of Services with a ClusterIP."""
    found: dict[str, str] = {}
    for service in services:
        if service.spec.cluster_ip in ("", "None") or not service.spec.ports:
            continue
        name = _variable_name(service.metadata.name)
        found[f"{name}_SERVICE_HOST"] = service.spec.cluster_ip
        found[f"{name}_SERVICE_PORT"] = str(service.spec.ports[0].port)
        for port in service.spec.ports:
            if port.name:
                found[f"{name}_SERVICE_PORT_{_variable_name(port.name)}"] = str(port.port)
    return found


def _value_from(
    source: EnvSource, pod: Pod, container: Container, placement: Placement, lookup: Lookup
) -> str | None:
    if source.field_ref is not None:
        return field_value(pod, source.field_ref.field_path, placement)
    if source.resource_field_ref is not None:
        ref = source.resource_field_ref
        named = [c for c in pod.spec.containers if c.name == ref.container_name]
        return resource_value(named[0] if named else container, ref, placement)
    if source.config_map_key_ref is not None:
        return _key("ConfigMap", source.config_map_key_ref, lookup)
    if source.secret_key_ref is not None:
        return _key("Secret", source.secret_key_ref, lookup)
    return None


def _key(kind: str, ref: KeyRef, lookup: Lookup) -> str | None:
    data = lookup(kind, ref.name)
    value = (data or {}).get(ref.key)
    if value is None and not ref.optional:
        missing = f'{kind.lower()} "{ref.name}" not found'
        raise ConfigMissingError(
            missing if data is None else f"couldn't find key {ref.key} in {kind} {ref.name}"
        )
    return None if value is None else value.decode(errors="replace")


def _lines(items: Mapping[str, str]) -> str:
    escaped = {
        key: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        for key, value in items.items()
    }
    return "\n".join(f'{key}="{escaped[key]}"' for key in sorted(escaped))


def _variable_name(name: str) -> str:
    return name.upper().replace("-", "_")
