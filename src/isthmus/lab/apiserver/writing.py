"""Create, update, patch and delete: from a decoded body to a committed object. Synchronous, hence atomic.

Every function returns the object as it is stored now; with `dry_run`, as it would be. Source: Kubernetes
"API concepts", and the generic registry of k8s.io/apiserver for the order of checks.
"""

import dataclasses
import secrets
from typing import Any

from isthmus.lab.apiserver import admission, deletion, kinds, ownership, rules
from isthmus.lab.apiserver.cluster import Cluster
from isthmus.lab.apiserver.definition import Definition
from isthmus.lab.apiserver.errors import (
    MODIFIED,
    Cause,
    RefusedError,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    forbidden_value,
    invalid,
    invalid_value,
    not_found,
)
from isthmus.lab.apiserver.managers import Shares
from isthmus.lab.apiserver.objects import Object, copy, encode, name_of, new_uid, now
from isthmus.lab.apiserver.patches import apply_patch
from isthmus.lab.apiserver.requests import Target
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.schema import message_of, normalised
from isthmus.lab.apiserver.store import Key, Stored
from isthmus.lab.apiserver.structural import pruned

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_LONGEST_BASE = 58
_SERVER_OWNED = ("deletionTimestamp", "deletionGracePeriodSeconds", "generation", "managedFields", "selfLink")
_STATUS_DROPPED = (
    kinds.DEPLOYMENTS,
    kinds.REPLICA_SETS,
    kinds.STATEFUL_SETS,
    kinds.DAEMON_SETS,
    kinds.CRON_JOBS,
    kinds.SERVICES,
    kinds.PODS,
    kinds.NAMESPACES,
    kinds.POD_DISRUPTION_BUDGETS,
    kinds.JOBS,
    kinds.CUSTOM_RESOURCE_DEFINITIONS,
)


def check_type(body: Any, kind: str, group_version: str) -> Object:
    """The body as an object of that kind, with the fields that it has; 400 where it is something else."""
    return _read_typed(body, kind, group_version, None)[0]


def read_object(body: Any, resource: Resource) -> tuple[Object, list[str]]:
    """As `check_type` for an object of a kind, with the paths of the fields that were dropped."""
    return _read_typed(body, resource.kind, resource.group_version, resource.definition)


def _read_typed(
    body: Any, kind: str, group_version: str, definition: Definition | None
) -> tuple[Object, list[str]]:
    if not isinstance(body, dict):
        raise bad_request(f"the object provided is unrecognized (must be of type {kind}): no JSON object")
    object_: Object = {**body}
    given_kind, given_version = object_.get("kind") or kind, object_.get("apiVersion") or group_version
    if given_kind != kind:
        version = str(given_version).rpartition("/")[2]
        raise bad_request(f'{given_kind} in version "{version}" cannot be handled as a {kind}')
    if given_version != group_version:
        raise bad_request(
            f"the API version in the data ({given_version}) does not match "
            f"the expected API version ({group_version})"
        )
    object_ = {**object_, "kind": kind, "apiVersion": group_version}
    if definition is None:
        typed, unknown = normalised(kind, object_, message_of(group_version.rpartition("/")[0], kind))
    else:
        typed, unknown = pruned(definition.schema, object_)
        meta, unknown_meta = normalised(kind, {"metadata": object_.get("metadata")}, "PartialObjectMetadata")
        typed.update(meta)
        unknown += unknown_meta
    typed.setdefault("metadata", {})
    return typed, unknown


def current(cluster: Cluster, target: Target) -> Stored:
    """The stored object; 404 where there is none."""
    found = cluster.store.get(target.resource, target.key)
    if found is None:
        raise missing(target)
    return found


def missing(target: Target) -> RefusedError:
    """404 for what the request is about."""
    return not_found(target.resource.group, target.resource.plural, target.name)


def create(cluster: Cluster, target: Target, body: Any, *, managed: Shares | None = None) -> Object:
    """Store a new object; it is its creator's unless `managed` says whose else."""
    object_ = completed(cluster, target, body, managed=managed)
    resource, name = target.resource, name_of(object_)
    rules.check(resource, object_)
    key = Key(target.namespace, name)
    if cluster.store.get(resource, key) is not None:
        raise already_exists(resource.group, resource.plural, name)
    return _commit(cluster, target, key, object_)


def completed(cluster: Cluster, target: Target, body: Any, *, managed: Shares | None = None) -> Object:
    """A new object with all that the server adds to it, not yet checked against the rules of its kind."""
    resource = target.resource
    object_, _ = read_object(body, resource)
    if resource.definition is not None and resource.definition.terminating:
        why = "create not allowed while custom resource definition is terminating"
        raise forbidden(resource.group, resource.plural, name_of(object_), why)
    meta = object_["metadata"]
    if meta.get("resourceVersion"):
        raise RefusedError(500, "", "resourceVersion should not be set on objects to be created")
    _check_namespace(target, meta)
    if not meta.get("name") and meta.get("generateName"):
        meta["name"] = _generated(cluster, target, meta["generateName"])
    for server_owned in _SERVER_OWNED:
        meta.pop(server_owned, None)
    meta["uid"] = new_uid()
    meta["creationTimestamp"] = now()
    if resource.counts_generations:
        meta["generation"] = 1
    if resource in _STATUS_DROPPED or (resource.definition and resource.subresource("status")):
        object_.pop("status", None)
    admission.admit_namespace(cluster, resource, object_)
    rules.default(resource, object_)
    if managed is None:
        ownership.record_created(target, object_)
    else:
        ownership.record(object_, managed)
    if name_of(object_):
        admission.admit_created(cluster, resource, object_, target.user)
    return object_


def update(cluster: Cluster, target: Target, body: Any) -> tuple[Object, bool]:
    """Replace an object, or its status; True where it was created by that."""
    resource = target.resource
    object_, _ = read_object(body, resource)
    meta = object_["metadata"]
    given = meta.setdefault("name", target.name)
    if given != target.name:
        raise bad_request(
            f"the name of the object ({given}) does not match the name on the URL ({target.name})"
        )
    _check_namespace(target, meta)
    old = cluster.store.get(resource, target.key)
    if old is None and resource.created_by_update and not target.subresource:
        meta.pop("resourceVersion", None)
        meta.pop("uid", None)
        return create(cluster, target, object_), True
    return replace(cluster, target, current(cluster, target), object_), False


def patch(cluster: Cluster, target: Target, media_type: str, body: Any) -> tuple[Object, list[str]]:
    """Change an object, or its status, by a patch; also the paths of the fields that its kind has not."""
    old = current(cluster, target)
    resource = target.resource
    # Whichever version it was written at, it is patched at the one that is asked for.
    shown = old.object if resource.view is None else resource.view.show(old.object)
    seen = {**shown, "kind": resource.kind, "apiVersion": resource.group_version}
    patched = apply_patch(resource, media_type, seen, body)
    object_, unknown = read_object(patched, resource)
    if unknown and target.strict:
        named = ", ".join(f'unknown field "{path}"' for path in unknown)
        text = f"Invalid value: {encode(body).decode()}: strict decoding error: {named}"
        raise invalid(resource.group, resource.kind, "", [Cause("patch", "FieldValueInvalid", text)])
    _check_same(target, object_)
    target, object_ = stored_form(target, object_)
    return replace(cluster, target, old, object_), unknown


def stored_form(target: Target, object_: Object) -> tuple[Target, Object]:
    """What is written, and where to, in the form that is stored, where the kind shows it in another."""
    view = target.resource.view
    if view is None:
        return target, object_
    return dataclasses.replace(target, resource=view.stored), view.read(object_)


def _check_same(target: Target, object_: Object) -> None:
    """400 where a patch has changed which object it is."""
    name, namespace = name_of(object_), object_["metadata"].get("namespace", "")
    if name != target.name:
        raise bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({target.name})"
        )
    if namespace not in ("", target.namespace):
        raise bad_request(
            f"the namespace of the object ({namespace}) does not match"
            f" the namespace on the request ({target.namespace})"
        )


def replace(
    cluster: Cluster,
    target: Target,
    old: Stored,
    object_: Object,
    *,
    managed: Shares | None = None,
) -> Object:
    """Store a new version in place of `old`, under the rules of the subresource that is written to.

    What is changed is the writer's then, unless `managed` says whose else.
    """
    resource, meta, was = target.resource, object_["metadata"], old.object["metadata"]
    group, plural = resource.group, resource.plural
    if meta.get("uid") and meta["uid"] != was["uid"]:
        why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {was['uid']}"
        raise conflict(group, plural, target.name, why)
    version = meta.get("resourceVersion", "")
    if not version and not resource.unconditional:
        cause = invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
        raise invalid(group, resource.kind, target.name, [cause])
    if version not in ("", was["resourceVersion"]):
        raise conflict(group, plural, target.name, MODIFIED)
    _carry_over(target, object_, old.object)
    rules.default(resource, object_)
    if managed is None:
        ownership.record_updated(target, object_, old.object)
    else:
        ownership.record(object_, managed)
    if not target.subresource:
        admission.admit_updated(cluster, resource, object_, old.object, target.user)
    rules.check(resource, object_, old.object)
    if resource.counts_generations and _desires(object_) != _desires(old.object):
        meta["generation"] = was.get("generation", 0) + 1
    if deletion.is_finished(resource, object_):
        return _commit_removal(cluster, target, object_)
    if _same(object_, old.object):
        return old.object
    return _commit(cluster, target, target.key, object_)


def _carry_over(target: Target, object_: Object, old: Object) -> None:
    """Put back what a client does not own: of the metadata, and status or all but the status."""
    meta, was = object_["metadata"], old["metadata"]
    owned = ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"]
    if target.subresource:
        owned += ["ownerReferences", "generateName"]
        kept = {key: value for key, value in old.items() if key not in ("metadata", "status")}
        for key in set(object_) - {"metadata", "status", "kind", "apiVersion"}:
            del object_[key]
        object_.update(copy(kept))
    elif target.resource.subresource("status"):
        object_.pop("status", None)
        if "status" in old:
            object_["status"] = old["status"]
    for name in owned:
        meta.pop(name, None)
        if name in was:
            meta[name] = was[name]
    meta["resourceVersion"] = was["resourceVersion"]
    if target.resource.namespaced:
        meta["namespace"] = target.namespace
    if "deletionTimestamp" in was:
        added = set(meta.get("finalizers") or ()) - set(was.get("finalizers") or ())
        if added:
            text = "no new finalizers can be added if the object is being deleted, found new finalizers"
            shown = ", ".join(f'"{one}"' for one in sorted(added))
            cause = forbidden_value("metadata.finalizers", f"{text} []string{{{shown}}}")
            raise invalid(target.resource.group, target.resource.kind, target.name, [cause])
    if target.resource is kinds.NAMESPACES and target.subresource != "finalize":
        object_["spec"] = old["spec"]


def _desires(object_: Object) -> Object:
    """What counts as a new generation: everything but metadata and status."""
    return {
        key: value
        for key, value in object_.items()
        if key not in ("metadata", "status", "kind", "apiVersion") and value not in (None, {}, [])
    }


def _same(object_: Object, old: Object) -> bool:
    typeless = {key: value for key, value in object_.items() if key not in ("kind", "apiVersion")}
    return typeless == {key: value for key, value in old.items() if key not in ("kind", "apiVersion")}


def _check_namespace(target: Target, meta: Object) -> None:
    if not target.resource.namespaced:
        meta.pop("namespace", None)
    elif meta.setdefault("namespace", target.namespace) != target.namespace:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def _generated(cluster: Cluster, target: Target, base: str) -> str:
    for _ in range(8):
        name = base[:_LONGEST_BASE] + "".join(secrets.choice(_ALPHABET) for _ in range(5))
        if cluster.store.get(target.resource, Key(target.namespace, name)) is None:
            return name
    raise already_exists(target.resource.group, target.resource.plural, base)


def _commit(cluster: Cluster, target: Target, key: Key, object_: Object) -> Object:
    if target.dry_run:
        return object_
    stored = cluster.store.commit(target.resource, key, object_)
    assert stored is not None
    return stored.object


def _commit_removal(cluster: Cluster, target: Target, object_: Object) -> Object:
    if not target.dry_run:
        cluster.store.commit(target.resource, target.key, None)
    return object_
