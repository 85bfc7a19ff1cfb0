"""EndpointSlices: how endpoints are dealt out to them, and how those that exist are made to fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError
from isthmus.lab.controllers.cache import Cache
from isthmus.lab.controllers.endpoints import EndpointPort, Ports
from isthmus.lab.controllers.objects import Object, entries, key_of, labels_of, section, uid_of

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
LARGEST = 100
"""Endpoints in one slice, as kube-controller-manager's default has it."""


@dataclass(frozen=True, slots=True)
class Packing:
    """What must be written: slices with new content, contents of new slices, and slices to delete."""

    changed: Sequence[tuple[Object, Sequence[Object]]]
    created: Sequence[Sequence[Object]]
    emptied: Sequence[Object]


def pack(wanted: Sequence[Object], existing: Sequence[Object], *, largest: int = LARGEST) -> Packing:
    """Deal endpoints of one port group out to slices. An endpoint stays in the slice where it is.

    So a change rewrites only the slice concerned, and no reader sees an endpoint vanish while it moves.
    """
    left = {identity(endpoint): endpoint for endpoint in wanted}
    contents: list[list[Object]] = []
    for each in existing:
        names = [identity(endpoint) for endpoint in entries(each, "endpoints")]
        contents.append([left.pop(name) for name in names if name in left])
    rest = list(left.values())
    for content in contents:
        if content or not any(contents):
            room = largest - len(content)
            content.extend(rest[:room])
            rest = rest[room:]
    pairs = list(zip(existing, contents, strict=True))
    return Packing(
        changed=[(each, now) for each, now in pairs if now and now != entries(each, "endpoints")],
        created=[rest[start : start + largest] for start in range(0, len(rest), largest)],
        emptied=[each for each, now in pairs if not now],
    )


def identity(endpoint: Object) -> str:
    """What makes it the same endpoint: its target's uid where it has one, else its address."""
    return str(section(endpoint, "targetRef").get("uid", "")) + "|" + endpoint["addresses"][0]


@dataclass(frozen=True, slots=True)
class SliceOwner:
    """For whom slices are kept: the Service's name, who owns them, which labels they carry, who manages."""

    service: str
    reference: Object
    labels: Mapping[str, str]
    manager: str

    def owns(self, item: Object) -> bool:
        """Whether a slice is one of these."""
        labels = labels_of(item)
        return labels.get(SERVICE_LABEL) == self.service and labels.get(MANAGED_BY) == self.manager


async def reconcile_slices(
    client: Client, slices: Cache, namespace: str, owner: SliceOwner, wanted: Mapping[Ports, Sequence[Object]]
) -> None:
    """Make the slices of one owner hold exactly `wanted`: endpoints by ports.

    A slice's family, ports and labels never change: others make another slice. New ones are written before
    old ones go.
    """
    parts = {
        (family, ports): part
        for ports, endpoints in wanted.items()
        for family in ("IPv4", "IPv6")
        if (part := [each for each in endpoints if _family(each) == family])
    }
    groups: dict[tuple[str, Ports], list[Object]] = {group: [] for group in parts}
    useless: list[Object] = []
    labels = {**owner.labels, SERVICE_LABEL: owner.service, MANAGED_BY: owner.manager}
    for each in slices.within(namespace):
        if owner.owns(each):
            group = each["addressType"], _ports_of(each)
            fits = group in groups and labels_of(each) == labels
            (groups[group] if fits else useless).append(each)
    for (family, ports), existing in groups.items():
        packing = pack(parts[family, ports], sorted(existing, key=key_of))
        for item, endpoints in packing.changed:
            await client.replace(slices.kind, key_of(item).name, {**item, "endpoints": endpoints}, namespace)
        for endpoints in packing.created:
            body = _new_slice(owner, labels, family, ports, endpoints)
            made = await client.create(slices.kind, body, namespace)
            await slices.until(lambda made=made: slices.get(key_of(made)) is not None)
        useless.extend(packing.emptied)
    for item in useless:
        try:
            await client.delete(slices.kind, key_of(item).name, namespace, uid=uid_of(item))
        except ApiError as error:
            if error.status not in (404, 409):
                raise


def _new_slice(
    owner: SliceOwner, labels: Mapping[str, str], family: str, ports: Ports, endpoints: Sequence[Object]
) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{owner.service}-",
            "labels": dict(labels),
            "ownerReferences": [owner.reference],
        },
        "addressType": family,
        "ports": [port.to_json() for port in ports],
        "endpoints": list(endpoints),
    }


def _family(endpoint: Object) -> str:
    return "IPv6" if ":" in endpoint["addresses"][0] else "IPv4"


def _ports_of(item: Object) -> Ports:
    return tuple(
        EndpointPort(
            port.get("name") or "", port.get("port"), port.get("protocol", "TCP"), port.get("appProtocol")
        )
        for port in entries(item, "ports")
    )
