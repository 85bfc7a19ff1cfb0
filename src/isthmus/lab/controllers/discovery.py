"""Which kinds an API server has, by its discovery documents."""

import msgspec

from isthmus.kube.client import Client
from isthmus.kube.kinds import Kind, untyped
from isthmus.lab.controllers.objects import Object

_NEEDED = frozenset({"list", "watch", "delete"})


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    group_version: str


class _Group(msgspec.Struct, frozen=True, rename="camel"):
    preferred_version: _Version


class _Groups(msgspec.Struct, frozen=True):
    groups: list[_Group]


class _Resource(msgspec.Struct, frozen=True):
    name: str
    kind: str
    namespaced: bool
    verbs: list[str] = []


class _Resources(msgspec.Struct, frozen=True):
    resources: list[_Resource]


async def discover(client: Client) -> list[Kind[Object]]:
    """The kinds that can be listed, watched and deleted, each in its group's preferred version."""
    groups = msgspec.json.decode(await client.request("GET", "/apis"), type=_Groups).groups
    found: list[Kind[Object]] = []
    for group_version in ["v1", *(group.preferred_version.group_version for group in groups)]:
        group, _, version = group_version.rpartition("/")
        path = f"/apis/{group_version}" if group else f"/api/{version}"
        resources = msgspec.json.decode(await client.request("GET", path), type=_Resources).resources
        found.extend(
            untyped(group, version, each.name, each.kind, namespaced=each.namespaced)
            for each in resources
            if set(each.verbs) >= _NEEDED and "/" not in each.name
        )
    return found
