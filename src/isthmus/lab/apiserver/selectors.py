"""Label and field selectors: text to predicate. Field selectors know no types: they compare text at a path.

Source of the grammar and of the messages: k8s.io/apimachinery, packages labels and fields.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from isthmus.lab.apiserver.errors import bad_request
from isthmus.lab.apiserver.kinds import EVENTS, Resource
from isthmus.lab.apiserver.objects import Object, items, labels_of, metadata, section, strings

Predicate: TypeAlias = Callable[[Object], bool]

_TOKEN = re.compile(r"\s*(==|!=|=|!|<|>|,|\(|\)|[^\s,()=!<>]+)")
_KEY = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?\Z")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?\Z")
_OPERATORS = {"=", "==", "!=", "<", ">", "in", "notin"}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One clause: `operator` is in, notin, exists, absent, gt or lt; `=` is `in` with one value."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels satisfy this clause; `notin` and `!=` hold where the key is missing."""
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "absent":
                return value is None
            case _:
                (bound,) = self.values
                if value is None or not re.fullmatch(r"-?\d+", value):
                    return False
                return int(value) > int(bound) if self.operator == "gt" else int(value) < int(bound)


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """The clauses of a label selector's text; 400 where it is malformed."""
    return tuple(_Parser(text).clauses())


class _Parser:
    """A cursor over the tokens of one selector."""

    def __init__(self, text: str) -> None:
        self._tokens = [match.group(1) for match in _TOKEN.finditer(text)]
        self._position = 0

    def clauses(self) -> list[Requirement]:
        found: list[Requirement] = []
        while self._peek():
            found.append(self._clause())
            if self._peek():
                self._expect(",")
        return found

    def _peek(self) -> str:
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._position += 1
        return token

    def _expect(self, wanted: str) -> None:
        found = self._next()
        if found != wanted:
            raise bad_request(f"unable to parse requirement: found '{found}', expected: '{wanted}'")

    def _key(self) -> str:
        key = self._next()
        if not _KEY.match(key):
            raise bad_request(f"unable to parse requirement: found '{key}', expected: identifier")
        return key

    def _clause(self) -> Requirement:
        if self._peek() == "!":
            self._next()
            return Requirement(self._key(), "absent")
        key = self._key()
        operator = self._peek()
        if operator in ("", ","):
            return Requirement(key, "exists")
        self._next()
        if operator not in _OPERATORS:
            expected = "in, notin, =, ==, !=, gt, lt"
            raise bad_request(f"unable to parse requirement: found '{operator}', expected: {expected}")
        if operator in ("in", "notin"):
            return Requirement(key, operator, self._set())
        value = self._value()
        if operator in ("<", ">"):
            if not re.fullmatch(r"-?\d+", value):
                raise bad_request(f'values[0][{key}]: Invalid value: "{value}": must be an integer')
            return Requirement(key, "gt" if operator == ">" else "lt", frozenset({value}))
        return Requirement(key, "notin" if operator == "!=" else "in", frozenset({value}))

    def _value(self) -> str:
        value = "" if self._peek() in ("", ",", ")") else self._next()
        if not _VALUE.match(value):
            raise bad_request(f"unable to parse requirement: found '{value}', expected: identifier")
        return value

    def _set(self) -> frozenset[str]:
        self._expect("(")
        values = {self._value()}
        while self._peek() == ",":
            self._next()
            values.add(self._value())
        self._expect(")")
        return frozenset(values)


def selects(selector: Mapping[str, Any]) -> Predicate:
    """The predicate on objects of a LabelSelector (`matchLabels`, `matchExpressions`)."""
    requirements = [
        Requirement(key, "in", frozenset({value})) for key, value in section(selector, "matchLabels").items()
    ]
    names = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent"}
    requirements += [
        Requirement(one["key"], names.get(one["operator"], "exists"), frozenset(strings(one, "values")))
        for one in items(selector, "matchExpressions")
    ]
    return lambda object_: all(one.holds(labels_of(object_)) for one in requirements)


@dataclass(frozen=True, slots=True)
class _FieldTerm:
    path: str
    value: str
    equal: bool


def parse_fields(text: str, resource: Resource) -> tuple[_FieldTerm, ...]:
    """The terms of a field selector's text; 400 where it is malformed or names an unknown field."""
    terms: list[_FieldTerm] = []
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"([^=!]+)(==|!=|=)(.*)", part)
        if match is None:
            raise bad_request(f"invalid field selector: {text}; can't understand '{part}'")
        path, operator, value = match.groups()
        if path not in ("metadata.name", "metadata.namespace", *resource.fields):
            known = '"metadata.name", "metadata.namespace"'
            reason = (
                f"field label not supported: {path}"
                if resource.fields
                else f'"{path}" is not a known field selector: only {known}'
            )
            raise bad_request(reason)
        terms.append(_FieldTerm(path, value, operator != "!="))
    return tuple(terms)


def predicate(resource: Resource, label_text: str, field_text: str) -> Predicate | None:
    """Both selectors as one predicate; None where neither restricts anything. 400 where malformed."""
    labels = parse_labels(label_text)
    fields = parse_fields(field_text, resource)
    if not labels and not fields:
        return None

    def chosen(object_: Object) -> bool:
        found = labels_of(object_)
        return all(one.holds(found) for one in labels) and all(
            (_field(resource, object_, one.path) == one.value) is one.equal for one in fields
        )

    return chosen


def exact_name(field_text: str) -> str | None:
    """The one name that a field selector allows: authorization counts it as the request's name."""
    match = re.search(r"(?:^|,)metadata\.name==?([^,]+)", field_text)
    return match.group(1) if match else None


def _field(resource: Resource, object_: Object, path: str) -> str:
    if resource is EVENTS and path == "source":
        return section(object_, "source").get("component") or object_.get("reportingComponent") or ""
    head, _, rest = path.partition(".")
    if head == "metadata":
        return metadata(object_).get(rest) or ""
    value: Any = section(object_, head).get(rest) if rest else object_.get(head)
    if isinstance(value, bool) or (value is None and path in ("spec.unschedulable", "spec.hostNetwork")):
        return str(bool(value)).lower()
    return "" if value is None else str(value)
