"""Deletion: at once, after a grace, or when the last finalizer is gone. Synchronous, hence atomic.

Source: Kubernetes "Finalizers", "Garbage collection" and "Pod termination".
"""

from dataclasses import dataclass
from typing import Any, cast

from isthmus.lab.apiserver import admission, kinds
from isthmus.lab.apiserver.cluster import Cluster
from isthmus.lab.apiserver.errors import (
    Cause,
    bad_request,
    conflict,
    forbidden,
    invalid_value,
    unsupported,
)
from isthmus.lab.apiserver.objects import Object, copy, metadata, now, section, strings
from isthmus.lab.apiserver.options import dry_run_faults, refuse_options
from isthmus.lab.apiserver.requests import Target
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.store import Stored

_ORPHAN, _FOREGROUND = "orphan", "foregroundDeletion"


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """What a client says about a deletion; `grace` in seconds, None for the object's own."""

    grace: int | None = None
    policy: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False
    awaited: bool = False
    """Whether `orphanDependents: false` was said: what is not gone at once is then 202, not 200."""


def read_options(body: Any, query: dict[str, str]) -> DeleteOptions:
    """The options of a delete, from its body or else its query; 400 or 422 where they make no sense."""
    if body is not None and not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized (must be of type DeleteOptions)")
    given: Object = cast("Object", body) if body else {}
    grace = given.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    policy = given.get("propagationPolicy", query.get("propagationPolicy")) or ""
    orphan = given.get("orphanDependents", _flag(query.get("orphanDependents")))
    causes: list[Cause] = []
    if orphan is not None and policy:
        text = "orphanDependents and deletionPropagation cannot be both set"
        causes.append(invalid_value("propagationPolicy", policy, text))
    if policy not in ("", "Background", "Foreground", "Orphan"):
        known = ("Foreground", "Background", "Orphan", "nil")
        causes.append(unsupported("propagationPolicy", policy, known))
    dry_run = given.get("dryRun") or ([query["dryRun"]] if "dryRun" in query else [])
    refuse_options("DeleteOptions", [*causes, *dry_run_faults(dry_run)])
    if orphan is not None:
        policy = "Orphan" if orphan else "Background"
    if grace is not None and not str(grace).lstrip("-").isdecimal():
        raise bad_request(f'strconv.ParseInt: parsing "{grace}": invalid syntax')
    preconditions = section(given, "preconditions")
    return DeleteOptions(
        None if grace is None else int(grace),
        policy,
        preconditions.get("uid") or "",
        preconditions.get("resourceVersion") or "",
        bool(dry_run),
        awaited=orphan is False,
    )


def _flag(text: str | None) -> bool | None:
    return None if text is None else text.lower() in ("true", "1")


def delete(cluster: Cluster, target: Target, stored: Stored, options: DeleteOptions) -> tuple[Object, bool]:
    """Delete an object, or begin to; returns its last state, and whether it is gone."""
    resource, old = target.resource, stored.object
    _check_preconditions(resource, target.name, metadata(old), options)
    if resource is kinds.NAMESPACES and target.name in admission.PROTECTED_NAMESPACES:
        raise forbidden("", "namespaces", target.name, "this namespace may not be deleted")
    object_ = copy(old)
    meta = object_["metadata"]
    grace = _grace(resource, object_, options)
    policy = options.policy or ("Orphan" if resource is kinds.JOBS else "")
    finalizers = _finalizers(strings(meta, "finalizers"), policy)
    if finalizers or "finalizers" in meta:
        meta["finalizers"] = finalizers
    already = "deletionTimestamp" in meta
    if not already or grace < meta.get("deletionGracePeriodSeconds", 0):
        meta["deletionTimestamp"] = now(after=grace)
        meta["deletionGracePeriodSeconds"] = grace
        if resource.counts_generations:
            meta["generation"] = meta.get("generation", 0) + 1
    if resource is kinds.NAMESPACES:
        meta.pop("deletionGracePeriodSeconds", None)
        object_["status"] = {**section(object_, "status"), "phase": "Terminating"}
    if resource is kinds.CUSTOM_RESOURCE_DEFINITIONS:
        admission.admit_definition(cluster, object_)
    gone = is_finished(resource, object_)
    if options.dry_run or target.dry_run:
        return object_, gone
    if gone:
        cluster.store.commit(resource, target.key, None)
        if resource is not kinds.PODS and not already:
            return old, True
    elif object_ != old:
        kept = cluster.store.commit(resource, target.key, object_)
        assert kept is not None
        return kept.object, False
    return object_, gone


def is_finished(resource: Resource, object_: Object) -> bool:
    """Whether nothing keeps a deleted object any longer: no finalizer, no grace, and an empty namespace."""
    meta = metadata(object_)
    if "deletionTimestamp" not in meta or meta.get("finalizers"):
        return False
    if resource is kinds.NAMESPACES:
        return not section(object_, "spec").get("finalizers")
    return not meta.get("deletionGracePeriodSeconds")


def _check_preconditions(resource: Resource, name: str, meta: Object, options: DeleteOptions) -> None:
    for field, wanted, shown, ended in (
        ("uid", options.uid, "UID", "deleted and then recreated"),
        ("resourceVersion", options.resource_version, "ResourceVersion", "modified"),
    ):
        if wanted and wanted != meta[field]:
            why = f"the {shown} in the precondition ({wanted}) does not match the {shown} in record"
            why += f" ({meta[field]}). The object might have been {ended}"
            raise conflict(resource.group, resource.kind, name, why)


def _grace(resource: Resource, object_: Object, options: DeleteOptions) -> int:
    """Seconds that the object still has: none but for a Pod that a node may be running."""
    if resource is not kinds.PODS:
        return 0
    spec = section(object_, "spec")
    if not spec.get("nodeName") or section(object_, "status").get("phase") in ("Succeeded", "Failed"):
        return 0
    if options.grace is None:
        return int(spec.get("terminationGracePeriodSeconds", 30))
    return max(options.grace, 0) if options.grace >= 0 else 1


def _finalizers(given: list[str], policy: str) -> list[str]:
    if not policy:
        return given
    kept = [one for one in given if one not in (_ORPHAN, _FOREGROUND)]
    added = {"Orphan": [_ORPHAN], "Foreground": [_FOREGROUND]}.get(policy, [])
    return kept + added
