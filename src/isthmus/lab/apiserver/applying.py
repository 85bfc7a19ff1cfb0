"""Server-side apply, from a decoded body to a committed object. Synchronous, hence atomic.

Source: Kubernetes "Server-Side Apply".
"""

from typing import Any, cast

import msgspec

from isthmus.lab.apiserver import managers, writing
from isthmus.lab.apiserver.cluster import Cluster
from isthmus.lab.apiserver.errors import RefusedError, about, bad_request, invalid, required
from isthmus.lab.apiserver.fieldpaths import Paths
from isthmus.lab.apiserver.objects import Object, encode, metadata, section
from isthmus.lab.apiserver.ownership import shares_of, structure_of, write_of
from isthmus.lab.apiserver.requests import Target
from isthmus.lab.apiserver.structured import StructureError, check_structure, paths_of

_KUBECTL = "kubectl"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def apply(cluster: Cluster, target: Target, body: Any, *, force: bool) -> tuple[Object, bool]:
    """Make the object say what the body says, and own that; True where it was created by that."""
    config = _checked(target, body)
    write, shape = write_of(target), structure_of(target.resource)
    old = cluster.store.get(target.resource, target.key)
    if old is None:
        if target.subresource:
            raise writing.missing(target)
        if metadata(config).get("uid"):
            why = "uid mismatch: the provided object specified uid {}, and no existing object was found"
            text = why.format(metadata(config)["uid"])
            resource = target.resource
            raise RefusedError(409, "Conflict", text, about(resource.group, resource.plural, target.name))
        applied = managers.apply(shape, write, {}, {}, config, force=force)
        return writing.create(cluster, target, applied.object, managed=applied.shares), True
    live = {key: part for key, part in old.object.items() if key != "metadata"}
    live["metadata"] = {key: part for key, part in metadata(old.object).items() if key != "managedFields"}
    inherited = _from_client_side(target, old.object)
    shares = shares_of(old.object)
    applied = managers.apply(shape, write, shares, live, config, force=force, inherited=inherited)
    resource = target.resource
    if inherited:
        _keep_last_applied(applied.object, config)
    typed, _ = writing.read_object(applied.object, resource)
    return writing.replace(cluster, target, old, typed, managed=applied.shares), False


def _from_client_side(target: Target, live: Object) -> Paths:
    """What kubectl applied from its own side before: kubectl may change that without a conflict."""
    said = section(metadata(live), "annotations").get(_LAST_APPLIED)
    if target.manager != _KUBECTL or not said:
        return frozenset()
    shape = structure_of(target.resource)
    try:
        config = msgspec.json.decode(said, type=dict[str, Any])
        check_structure(shape, config)
    except (msgspec.DecodeError, StructureError):
        return frozenset()
    return paths_of(shape, config)


def _keep_last_applied(object_: Object, config: Object) -> None:
    """Let a later client-side apply find what was applied now."""
    meta = object_["metadata"] = {**metadata(object_)}
    meta["annotations"] = {**section(meta, "annotations"), _LAST_APPLIED: encode(config).decode() + "\n"}


def _checked(target: Target, body: Any) -> Object:
    """The configuration as it was sent, of the right kind and structure, without what it may not say here."""
    resource = target.resource
    if not target.manager:
        causes = [required("fieldManager", "is required for apply patch")]
        raise invalid("meta.k8s.io", "PatchOptions", "", causes)
    if not isinstance(body, dict):
        raise bad_request("error decoding YAML: json: cannot unmarshal into a map")
    config: Object = {**cast("Object", body)}
    for name, wanted in (("apiVersion", resource.group_version), ("kind", resource.kind)):
        if config.get(name, "") != wanted:
            text = f"invalid object type: {name} must be {wanted}, not {config.get(name, '')!r}"
            raise bad_request(text)
    meta = config["metadata"] = {**section(config, "metadata")}
    if meta.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    for name, wanted in (("name", target.name), ("namespace", target.namespace)):
        if wanted and meta.setdefault(name, wanted) != wanted:
            raise bad_request(
                f"the {name} of the object ({meta[name]}) does not match the {name} on the URL ({wanted})"
            )
    if target.subresource == "status":
        config = {key: config[key] for key in ("apiVersion", "kind", "metadata", "status") if key in config}
    elif resource.subresource("status"):
        config.pop("status", None)
    try:
        check_structure(structure_of(resource), config)
    except StructureError as error:
        place = f"{target.namespace}/{target.name}; {resource.group_version}, Kind={resource.kind}"
        raise RefusedError(500, "", f"failed to create typed patch object ({place}): {error}") from None
    return config
