"""CustomResourceDefinitions: their defaults, rules and status, and the kinds that they define. Pure.

Versions are converted by their name alone (strategy None). Refused: conversion by webhook, and schemas that
are not structural. Source: Kubernetes "Extend the Kubernetes API with CustomResourceDefinitions".
"""

import re
from collections.abc import Iterable, Iterator

from isthmus.lab.apiserver.definition import Definition
from isthmus.lab.apiserver.errors import Cause, forbidden_value, invalid_value, required, unsupported
from isthmus.lab.apiserver.kinds import CUSTOM_RESOURCE_DEFINITIONS
from isthmus.lab.apiserver.names import label_faults
from isthmus.lab.apiserver.objects import Object, items, metadata, name_of, now, section, strings
from isthmus.lab.apiserver.resource import SCALE, STATUS, Resource, Subresource
from isthmus.lab.apiserver.served import Kinds
from isthmus.lab.apiserver.store import Key, Stored

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?\Z")
_MATURITY = {"alpha": 0, "beta": 1, None: 2}
_SCHEMA = "schema.openAPIV3Schema"


def default_definition(definition: Object) -> None:
    """Fill in names, and the conversion."""
    spec = definition.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind", "")
    names.setdefault("singular", kind.lower())
    names.setdefault("listKind", f"{kind}List")
    spec.setdefault("conversion", {"strategy": "None"})


def validate_definition(definition: Object) -> Iterator[Cause]:
    """The faults of a definition, after defaulting."""
    spec = definition["spec"]
    names, versions = spec["names"], items(spec, "versions")
    for path, value in (("spec.group", spec.get("group")), ("spec.names.plural", names.get("plural"))):
        if not value:
            yield required(path)
    if name_of(definition) != f"{names.get('plural')}.{spec.get('group')}":
        text = 'must be spec.names.plural+"."+spec.group'
        yield invalid_value("metadata.name", name_of(definition), text)
    if not names.get("kind"):
        yield required("spec.names.kind")
    for field in ("plural", "singular", "kind", "listKind"):
        for fault in label_faults(names.get(field, "").lower()) if names.get(field) else ():
            yield invalid_value(f"spec.names.{field}", names[field], fault)
    if spec.get("scope") not in ("Namespaced", "Cluster"):
        yield unsupported("spec.scope", spec.get("scope", ""), ("Cluster", "Namespaced"))
    if spec["conversion"].get("strategy") != "None":
        yield unsupported("spec.conversion.strategy", spec["conversion"].get("strategy", ""), ("None",))
    if spec.get("preserveUnknownFields"):
        text = "must be false in order to use defaults in the schema"
        yield invalid_value("spec.preserveUnknownFields", True, text)
    if sum(1 for one in versions if one.get("storage")) != 1:
        yield invalid_value("spec.versions", "", "must have exactly one version marked as storage version")
    yield from _validate_versions(versions)


def _validate_versions(versions: list[Object]) -> Iterator[Cause]:
    """Faults of each version; a schema that all of them have is looked at once, as `spec.validation`."""
    schemas = [section(section(version, "schema"), "openAPIV3Schema") for version in versions]
    common = bool(schemas) and all(schema and schema == schemas[0] for schema in schemas)
    if common:
        yield from _validate_schema(schemas[0], "spec.validation.openAPIV3Schema")
    for index, (version, schema) in enumerate(zip(versions, schemas, strict=True)):
        path = f"spec.versions[{index}]"
        for fault in label_faults(version.get("name", "")):
            yield invalid_value(f"{path}.name", version.get("name", ""), fault)
        if not schema:
            yield required(f"{path}.{_SCHEMA}")
        elif not common:
            yield from _validate_schema(schema, f"{path}.{_SCHEMA}")


def _validate_schema(schema: Object, at: str) -> Iterator[Cause]:
    if schema.get("type") != "object":
        yield invalid_value(f"{at}.type", schema.get("type", ""), "must be object at the root")
    yield from _validate_structure(schema, at)


def _validate_structure(schema: Object, path: str) -> Iterator[Cause]:
    """That every part of a schema says its type, and lists say how they merge only as they can."""
    typeless = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if not schema.get("type") and not typeless:
        yield required(f"{path}.type", "must not be empty for specified object fields")
    if "properties" in schema and schema.get("additionalProperties"):
        yield forbidden_value(f"{path}.additionalProperties", "must not be used if properties is used")
    if schema.get("type") == "array" and not schema.get("items"):
        yield required(f"{path}.items", "must be specified")
    if schema.get("x-kubernetes-list-type") == "map" and not schema.get("x-kubernetes-list-map-keys"):
        yield required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if list type is map")
    try:
        re.compile(schema.get("pattern", ""))
    except re.error as error:
        text = f"must be a valid regular expression, but isn't: {error}"
        yield invalid_value(f"{path}.pattern", schema["pattern"], text)
    for name, part in section(schema, "properties").items():
        yield from _validate_structure(part, f"{path}.properties[{name}]")
    for name in ("items", "additionalProperties"):
        if section(schema, name):
            yield from _validate_structure(section(schema, name), f"{path}.{name}")


def validate_definition_update(definition: Object, old: Object) -> Iterator[Cause]:
    """Faults of a change: names and scope stay, and so do versions that objects are stored in."""
    new, was = definition["spec"], old["spec"]
    for path, before, after in (
        ("spec.group", was["group"], new.get("group")),
        ("spec.scope", was["scope"], new.get("scope")),
        ("spec.names.plural", was["names"]["plural"], new["names"].get("plural")),
        ("spec.names.kind", was["names"]["kind"], new["names"].get("kind")),
    ):
        if before != after:
            yield invalid_value(path, after, "field is immutable")
    left = {one.get("name") for one in items(new, "versions")}
    for index, version in enumerate(strings(section(old, "status"), "storedVersions")):
        if version not in left:
            text = f"missing from spec.versions; {version} was previously a storage version, and must remain"
            yield invalid_value(f"status.storedVersions[{index}]", version, f"{text} in spec.versions")


def establish(definition: Object, others: Iterable[Object]) -> None:
    """Set the status that Kubernetes' controllers would: whether its names are free, and it is served."""
    spec, status = definition["spec"], {**section(definition, "status")}
    taken = {
        name
        for one in others
        if name_of(one) != name_of(definition) and one["spec"]["group"] == spec["group"]
        for name in _claims(section(one["status"], "acceptedNames"))
    }
    clash = sorted(_claims(spec["names"]) & taken)
    conditions = {one["type"]: one for one in items(status, "conditions")}

    def say(type_: str, holds: bool, reason: str, message: str) -> None:
        value, before = str(holds), conditions.get(type_)
        if before is None or before["status"] != value:
            conditions[type_] = {
                "type": type_,
                "status": value,
                "lastTransitionTime": now(),
                "reason": reason,
                "message": message,
            }

    if clash:
        say("NamesAccepted", False, "NameConflict", f'"{clash[0]}" is already in use')
        say("Established", False, "NotAccepted", "not all names are accepted")
    else:
        say("NamesAccepted", True, "NoConflicts", "no conflicts found")
        say("Established", True, "InitialNamesAccepted", "the initial names have been accepted")
    if "deletionTimestamp" in metadata(definition):
        text = "CustomResource deletion is in progress"
        say("Terminating", True, "InstanceDeletionInProgress", text)
    stored = next(one["name"] for one in items(spec, "versions") if one.get("storage"))
    before = strings(status, "storedVersions")
    definition["status"] = {
        **status,
        "conditions": [*conditions.values()],
        "acceptedNames": section(status, "acceptedNames") if clash else spec["names"],
        "storedVersions": before if stored in before else [*before, stored],
    }


def _claims(names: Object) -> set[str]:
    one = {names.get("plural", ""), names.get("singular", ""), *strings(names, "shortNames")}
    return (one | {names.get("kind", ""), names.get("listKind", "")}) - {""}


def is_established(definition: Object) -> bool:
    """Whether its kind is served."""
    conditions = items(section(definition, "status"), "conditions")
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


def resources_of(definition: Object) -> list[Resource]:
    """The kind at each version that is served, the preferred version first."""
    if not is_established(definition):
        return []
    spec = definition["spec"]
    stored = next(one["name"] for one in items(spec, "versions") if one.get("storage"))
    served = [one for one in items(spec, "versions") if one.get("served")]
    ordered = sorted(served, key=lambda one: _rank(one["name"]))
    return [_resource(definition, version, stored) for version in ordered]


def serve_defined(served: Kinds, resource: Resource, key: Key, stored: Stored | None) -> None:
    """Take note of a change: if it is one of a definition, serve what that defines from now on."""
    if resource is CUSTOM_RESOURCE_DEFINITIONS:
        plural, _, group = key.name.partition(".")
        served.define(group, plural, resources_of(stored.object) if stored else ())


def _resource(definition: Object, version: Object, stored: str) -> Resource:
    spec, names = definition["spec"], definition["status"]["acceptedNames"]
    offered = section(version, "subresources")
    below: list[Subresource] = []
    if "scale" in offered:
        below.append(SCALE)
    if "status" in offered:
        below.append(STATUS)
    return Resource(
        spec["group"],
        version["name"],
        names["plural"],
        names["kind"],
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(strings(names, "shortNames")),
        categories=tuple(strings(names, "categories")),
        subresources=tuple(below),
        fields=tuple(one["jsonPath"].lstrip(".") for one in items(version, "selectableFields")),
        counts_generations=True,
        unconditional=False,
        shown_when_deleted=False,
        definition=Definition(
            list_kind=names["listKind"],
            singular=names["singular"],
            storage_version=stored,
            schema=section(section(version, "schema"), "openAPIV3Schema"),
            columns=tuple(items(version, "additionalPrinterColumns")),
            scale=section(offered, "scale") or None,
            terminating="deletionTimestamp" in metadata(definition),
        ),
    )


def _rank(version: str) -> tuple[int, int, int, str]:
    """Kubernetes' order: stable before beta before alpha, newer first, then all others by name."""
    match = _VERSION.match(version)
    if match is None:
        return (1, 0, 0, version)
    major, maturity, minor = match.groups()
    return (0, -_MATURITY[maturity], -(int(major) * 1000 + int(minor or 0)), version)
