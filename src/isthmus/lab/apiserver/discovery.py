"""What the server says about itself: versions, groups, resources. Pure; OpenAPI is in `openapi`."""

from collections.abc import Iterable

from isthmus.lab.apiserver.objects import Object
from isthmus.lab.apiserver.resource import Resource, Subresource
from isthmus.lab.apiserver.served import Kinds

VERSION: Object = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.0+isthmus",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "cpython",
    "platform": "linux/amd64",
}


def core_versions(address: str) -> Object:
    """`/api`."""
    served = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": served}


def paths(kinds: Kinds) -> list[str]:
    """`/`: what there is, as far as it has no parameters."""
    found = ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis"]
    for name, versions in kinds.versions().items():
        if name:
            found += [f"/apis/{name}", *(f"/apis/{name}/{version}" for version in versions)]
    health = [path for root in ("healthz", "livez", "readyz") for path in (f"/{root}", f"/{root}/ping")]
    return sorted([*found, *health, "/openapi/v3", "/openid/v1/jwks", "/version"])


def group_list(kinds: Kinds) -> Object:
    """`/apis`."""
    groups = [_group(name, versions) for name, versions in kinds.versions().items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(kinds: Kinds, name: str) -> Object | None:
    """`/apis/GROUP`, None for a group that is not served."""
    versions = kinds.versions().get(name) if name else None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if versions else None


def resource_list(kinds: Kinds, group_name: str, version: str) -> Object | None:
    """`/api/v1` or `/apis/GROUP/VERSION`, None for a version that is not served."""
    entries: list[Object] = []
    for one in kinds:
        if (one.group, one.version) == (group_name, version):
            entries.append(_resource(one))
            entries += [_subresource(one, sub) for sub in one.subresources]
    if not entries:
        return None
    group_version = f"{group_name}/{version}" if group_name else version
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": sorted(entries, key=lambda entry: entry["name"]),
    }


def aggregated(kinds: Kinds, names: Iterable[str]) -> Object:
    """The groups' discovery in one document (apidiscovery.k8s.io/v2)."""
    found: list[Object] = []
    for name in names:
        versions = kinds.versions()[name]
        described = [
            {
                "version": version,
                "resources": [
                    _aggregated_resource(one) for one in kinds if (one.group, one.version) == (name, version)
                ],
                "freshness": "Current",
            }
            for version in versions
        ]
        meta: Object = {"name": name} if name else {}
        found.append({"metadata": {**meta, "creationTimestamp": None}, "versions": described})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": found,
    }


def _group(name: str, versions: list[str]) -> Object:
    described = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": described, "preferredVersion": described[0]}


def _resource(one: Resource) -> Object:
    entry: Object = {
        "name": one.plural,
        "singularName": one.singular,
        "namespaced": one.namespaced,
        "kind": one.kind,
        "verbs": list(one.verbs),
    }
    if one.short_names:
        entry["shortNames"] = list(one.short_names)
    if one.categories:
        entry["categories"] = list(one.categories)
    return entry


def _subresource(one: Resource, sub: Subresource) -> Object:
    entry: Object = {
        "name": f"{one.plural}/{sub.name}",
        "singularName": "",
        "namespaced": one.namespaced,
        "kind": sub.kind or one.kind,
        "verbs": list(sub.verbs),
    }
    if sub.group is not None:
        entry["group"], entry["version"] = sub.group, sub.version
    return entry


def _aggregated_resource(one: Resource) -> Object:
    entry: Object = {
        "resource": one.plural,
        "responseKind": {"group": one.group, "version": one.version, "kind": one.kind},
        "scope": "Namespaced" if one.namespaced else "Cluster",
        "singularResource": one.singular,
        "verbs": list(one.verbs),
    }
    if one.short_names:
        entry["shortNames"] = list(one.short_names)
    if one.categories:
        entry["categories"] = list(one.categories)
    if one.subresources:
        entry["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": {
                    "group": one.group if sub.group is None else sub.group,
                    "version": sub.version or one.version,
                    "kind": sub.kind or one.kind,
                },
                "verbs": list(sub.verbs),
            }
            for sub in one.subresources
        ]
    return entry
