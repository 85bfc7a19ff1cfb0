"""The rules for names, labels and annotations that hold for every kind. Pure; faults become causes.

Source and messages: k8s.io/apimachinery, packages util/validation and api/validation.
"""

import re
from collections.abc import Iterator

from isthmus.lab.apiserver.errors import Cause, forbidden_value, invalid_value, required, too_long
from isthmus.lab.apiserver.kinds import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    NAMESPACES,
    ROLE_BINDINGS,
    ROLES,
    SERVICES,
)
from isthmus.lab.apiserver.objects import Object, items, metadata, section, strings
from isthmus.lab.apiserver.resource import Resource

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z")
_SIZE_OF_ANNOTATIONS = 256 * 1024
_STANDARD_FINALIZERS = (
    "kubernetes",
    "orphan",
    "foregroundDeletion",
    "customresourcecleanup.apiextensions.k8s.io",
)

_NO_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_NO_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_NO_QUALIFIED = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_NO_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
    "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def label_faults(value: str) -> Iterator[str]:
    """What keeps text from being an RFC 1123 label, such as a namespace's name."""
    if len(value) > 63:
        yield "must be no more than 63 characters"
    if not _LABEL.match(value):
        yield "must not contain dots" if _SUBDOMAIN.match(value) else _NO_LABEL


def subdomain_faults(value: str) -> Iterator[str]:
    """What keeps text from being an RFC 1123 subdomain, such as most objects' names."""
    if len(value) > 253:
        yield "must be no more than 253 characters"
    if not _SUBDOMAIN.match(value):
        yield _NO_SUBDOMAIN


def _path_segment_faults(value: str) -> Iterator[str]:
    if value in (".", ".."):
        yield f"may not be '{value}'"
    for character in ("/", "%"):
        if character in value:
            yield f"may not contain '{character}'"


def qualified_name_faults(value: str) -> Iterator[str]:
    """What keeps text from being the key of a label or an annotation."""
    if value.count("/") > 1:
        example = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        yield f"a valid label key {_NO_QUALIFIED.removeprefix('name part ')} {example}"
        return
    prefix, slash, name = value.rpartition("/")
    if slash:
        if not prefix:
            yield "prefix part must be non-empty"
        for fault in subdomain_faults(prefix) if prefix else ():
            yield f"prefix part {fault}"
    if not name:
        yield "name part must be non-empty"
    elif len(name) > 63:
        yield "name part must be no more than 63 bytes"
    if not _QUALIFIED.match(name):
        yield _NO_QUALIFIED


def validate_labels(labels: Object, path: str) -> Iterator[Cause]:
    """The faults of a map of labels."""
    for key, value in labels.items():
        for fault in qualified_name_faults(key):
            yield invalid_value(path, key, fault)
        for fault in label_value_faults(value):
            yield invalid_value(path, value, fault)


def label_value_faults(value: str) -> Iterator[str]:
    """What keeps text from being the value of a label."""
    if len(value) > 63:
        yield "must be no more than 63 bytes"
    if value and not _QUALIFIED.match(value):
        yield _NO_VALUE


_NAME_RULES = {
    NAMESPACES: label_faults,
    SERVICES: label_faults,
    ROLES: _path_segment_faults,
    ROLE_BINDINGS: _path_segment_faults,
    CLUSTER_ROLES: _path_segment_faults,
    CLUSTER_ROLE_BINDINGS: _path_segment_faults,
}


def validate_metadata(resource: Resource, object_: Object) -> Iterator[Cause]:
    """The faults of an object's metadata."""
    meta = metadata(object_)
    name, base = meta.get("name", ""), meta.get("generateName") or ""
    faults = _NAME_RULES.get(resource, subdomain_faults)
    for fault in faults(f"{base[:-1]}a" if base.endswith("-") and len(base) > 1 else base) if base else ():
        yield invalid_value("metadata.generateName", base, fault)
    if not name:
        yield required("metadata.name", "name or generateName is required")
    else:
        for fault in faults(name):
            yield invalid_value("metadata.name", name, fault)
    yield from validate_labels(section(meta, "labels"), "metadata.labels")
    size = 0
    for key, value in section(meta, "annotations").items():
        for fault in qualified_name_faults(key.lower()):
            yield invalid_value("metadata.annotations", key, fault)
        size += len(key) + len(str(value))
    if size > _SIZE_OF_ANNOTATIONS:
        yield too_long("metadata.annotations", _SIZE_OF_ANNOTATIONS)
    yield from _validate_owners(items(meta, "ownerReferences"))
    yield from _validate_finalizers(resource, strings(meta, "finalizers"))


def _validate_owners(owners: list[Object]) -> Iterator[Cause]:
    path, controller = "metadata.ownerReferences", ""
    for owner in owners:
        for part in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(part):
                text = "version must not be empty" if part == "apiVersion" else "must not be empty"
                yield invalid_value(f"{path}.{part}", owner.get(part, ""), text)
        if (owner.get("apiVersion"), owner.get("kind")) == ("v1", "Event"):
            yield invalid_value(path, owner, "/v1, Kind=Event is disallowed from being an owner")
        if owner.get("controller"):
            this = f"{owner.get('kind')}/{owner.get('name')}"
            if controller:
                text = 'Only one reference can have Controller set to true. Found "true" in references for'
                yield invalid_value(path, owners, f"{text} {controller} and {this}")
            controller = controller or this


def _validate_finalizers(resource: Resource, finalizers: list[str]) -> Iterator[Cause]:
    path = "metadata.finalizers"
    for finalizer in finalizers:
        for fault in qualified_name_faults(finalizer):
            yield invalid_value(path, finalizer, fault)
    if {"orphan", "foregroundDeletion"} <= {*finalizers}:
        text = "finalizer orphan and foregroundDeletion cannot be both set"
        yield invalid_value(path, finalizers, text)
    for index, finalizer in enumerate(finalizers):
        if resource.definition is None and "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            text = "name is neither a standard finalizer name nor is it fully qualified"
            yield invalid_value(f"{path}[{index}]", finalizer, text)


def port_faults(port: object) -> Iterator[str]:
    """What keeps a value from being a port number."""
    if not isinstance(port, int) or not 1 <= port <= 65535:
        yield "must be between 1 and 65535, inclusive"


def port_name_faults(name: str) -> Iterator[str]:
    """What keeps text from being a port's name (an IANA service name)."""
    if len(name) > 15:
        yield "must be no more than 15 characters"
    if not re.fullmatch(r"[-a-z0-9]+", name):
        yield "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    if not re.search(r"[a-z]", name):
        yield "must contain at least one letter (a-z)"
    if "--" in name:
        yield "must not contain consecutive hyphens"
    if name.startswith("-") or name.endswith("-"):
        yield "must not begin or end with a hyphen"


def validate_label_selector(selector: Object, path: str) -> Iterator[Cause]:
    """The faults of a LabelSelector."""
    yield from validate_labels(section(selector, "matchLabels"), f"{path}.matchLabels")
    for index, one in enumerate(items(selector, "matchExpressions")):
        at, operator, values = f"{path}.matchExpressions[{index}]", one.get("operator"), one.get("values")
        if operator in ("In", "NotIn"):
            if not values:
                yield required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield forbidden_value(f"{at}.values", text)
        else:
            yield invalid_value(f"{at}.operator", operator or "", "not a valid selector operator")
        for fault in qualified_name_faults(one.get("key", "")):
            yield invalid_value(f"{at}.key", one.get("key", ""), fault)
