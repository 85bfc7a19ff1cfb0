"""What is to be written so that a remote's Service leads to the control plane's own ready pods. Pure.

Endpoints only: Kubernetes mirrors them into slices. Who installed them must be able to go on: a later `helm
upgrade`, whose server-side apply refuses to change what another manager owns, finds the addresses owned by
nobody else; and what is made here belongs to its Service, in the garbage collector's eyes and in Helm's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from isthmus.clusters.parts import SlicePart
from isthmus.model.workload import Health

SERVICES = ("istio-pilot", "istio-policy", "istio-statsd-prom-bridge")
"""The Services of the control plane that a remote cluster has too, under these names."""
FIELD_MANAGER = "istio-pilot"
HEALED_BY = "isthmus.dev/healed-by"
"""On Endpoints: the name of the cluster whose pods these are."""
_HELM = "meta.helm.sh/"

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Create:
    """There are none: create these."""

    body: Json


@dataclass(frozen=True, slots=True)
class Amend:
    """They lead elsewhere: this merge patch, refused (409) if somebody was there in between."""

    patch: Json


def ready_addresses(parts: Iterable[SlicePart]) -> frozenset[str]:
    """Where the ready pods are that some slices tell of."""
    return frozenset(
        backend.address
        for part in parts
        for subset in part.subsets
        for backend in subset.backends
        if backend.health is Health.READY
    )


def plan_addresses(
    service: Json | None, endpoints: Json | None, addresses: Sequence[str], home: str
) -> Create | Amend | None:
    """What to write so that a Service's Endpoints hold exactly `addresses`; None for nothing.

    Left alone are Services that Kubernetes fills itself (a selector) or that are names (ExternalName), and
    all of them while no address is known: whatever stands there is better than nothing. The ports of what
    stands there are kept.
    """
    if service is None or service["metadata"].get("deletionTimestamp") or not addresses:
        return None
    spec = _mapping(service, "spec")
    if spec.get("type") == "ExternalName" or spec.get("selector"):
        return None
    wanted = [{"ip": address} for address in sorted(addresses)]
    if endpoints is None:
        return Create(_new(service, [{"addresses": wanted, "ports": _ports(spec)}], home))
    found = _items(endpoints, "subsets")
    if found and all(_leads_to(subset, addresses) for subset in found):
        return None
    metadata = {
        "resourceVersion": endpoints["metadata"]["resourceVersion"],
        "annotations": {HEALED_BY: home},
    }
    port_lists: list[Any] = []
    for subset in found:
        if subset.get("ports") and subset["ports"] not in port_lists:
            port_lists.append(subset["ports"])
    subsets = [{"addresses": wanted, "ports": ports} for ports in port_lists or [_ports(spec)]]
    return Amend({"metadata": metadata, "subsets": subsets})


def plan_release(endpoints: Json) -> Json | None:
    """The merge patch by which the addresses are no longer ours to own, None where they are not.

    Kubernetes, "Server-Side Apply": an update may change `managedFields`. The annotation stays ours: where an
    object has no entry at all, the first who applies something is told that all of it is another's.
    """
    entries = _items(endpoints["metadata"], "managedFields")
    kept: list[Json] = []
    for entry in entries:
        if entry.get("manager") == FIELD_MANAGER:
            fields: Json = {"f:metadata": {"f:annotations": {f"f:{HEALED_BY}": {}}}}
            kept.append({**entry, "fieldsV1": fields})
        else:
            kept.append(entry)
    if kept == entries:
        return None
    return {"metadata": {"resourceVersion": endpoints["metadata"]["resourceVersion"], "managedFields": kept}}


def manager_of_addresses(endpoints: Json) -> str:
    """Who is said to have written the addresses, "" where nobody is."""
    entries = _items(endpoints["metadata"], "managedFields")
    return next(
        (str(entry.get("manager", "")) for entry in entries if "f:subsets" in _mapping(entry, "fieldsV1")), ""
    )


def _new(service: Json, subsets: list[Json], home: str) -> Json:
    """Endpoints that go with their Service, and that Helm takes for its own if the Service is."""
    told = service["metadata"]
    helm = {key: text for key, text in _mapping(told, "annotations").items() if str(key).startswith(_HELM)}
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": told["name"],
            "namespace": told["namespace"],
            "labels": dict(_mapping(told, "labels")),
            "annotations": {**helm, HEALED_BY: home},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Service", "name": told["name"], "uid": told["uid"]}
            ],
        },
        "subsets": subsets,
    }


def _leads_to(subset: Json, addresses: Sequence[str]) -> bool:
    ready = [address.get("ip") for address in _items(subset, "addresses")]
    return sorted(map(str, ready)) == sorted(addresses) and not subset.get("notReadyAddresses")


def _ports(spec: Mapping[str, Any]) -> list[Json]:
    """The Service's ports as Endpoints have them: a target's name would need a pod to mean a number."""
    ports: list[Json] = []
    for port in _items(spec, "ports"):
        target = port.get("targetPort")
        number = target if isinstance(target, int) and target else port["port"]
        each: Json = {"port": number, "protocol": port.get("protocol", "TCP")}
        ports.append(each | {key: port[key] for key in ("name", "appProtocol") if port.get(key)})
    return ports


def _items(holder: Mapping[str, Any], field: str) -> list[Json]:
    return cast("list[Json]", holder.get(field) or [])


def _mapping(holder: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", holder.get(field) or {})
