"""Label and field selectors: text to predicate. Field selectors know no types: they compare text at a path.

Source of the grammar and of the messages: k8s.io/apimachinery, packages labels and fields.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from isthmus.lab.apiserver.errors import RefusedError, bad_request, invalid_value
from isthmus.lab.apiserver.kinds import EVENTS
from isthmus.lab.apiserver.names import label_value_faults, qualified_name_faults
from isthmus.lab.apiserver.objects import Object, items, labels_of, metadata, section, strings
from isthmus.lab.apiserver.resource import Resource

Predicate: TypeAlias = Callable[[Object], bool]

_TOKEN = re.compile(r"\s*(==|!=|=|!|<|>|,|\(|\)|[^\s,()=!<>]+)")
_PUNCTUATION = ("", "==", "!=", "=", "!", "<", ">", ",", "(", ")")
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
        while (first := self._peek()) != "":
            if first in _PUNCTUATION and first != "!":
                raise bad_request(f"found '{first}', expected: !, identifier, or 'end of string'")
            found.append(self._clause())
            after = self._next()
            if after not in ("", ","):
                raise bad_request(f"found '{after}', expected: ',' or 'end of string'")
            if after and (self._peek() in _PUNCTUATION and self._peek() != "!"):
                raise bad_request(f"found '{self._peek()}', expected: identifier after ','")
        return found

    def _peek(self) -> str:
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._position += 1
        return token

    def _key(self) -> str:
        key = self._next()
        if key in _PUNCTUATION:
            raise _unparsed(f"found '{key}', expected: identifier")
        for fault in qualified_name_faults(key):
            raise _unparsed(f"<nil>: {invalid_value('', key, fault).text}")
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
            raise _unparsed(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")
        values = self._set() if operator in ("in", "notin") else frozenset({self._value()})
        for index, value in enumerate(sorted(values)):
            _check_value(operator, key, index, value)
        names = {"in": "in", "notin": "notin", "!=": "notin", "<": "lt", ">": "gt"}
        return Requirement(key, names.get(operator, "in"), values)

    def _value(self) -> str:
        value = "" if self._peek() in ("", ",") else self._next()
        if value in _PUNCTUATION and value:
            raise _unparsed(f"found '{value}', expected: identifier")
        return value

    def _set(self) -> frozenset[str]:
        if (opening := self._next()) != "(":
            raise _unparsed(f"found '{opening}' expected: '('")
        if self._peek() in _PUNCTUATION and self._peek() not in (",", ")"):
            raise _unparsed(f"found '{self._peek()}', expected: ',', ')' or identifier")
        values: set[str] = set()
        while True:
            values.add("" if self._peek() in (",", ")") else self._identifier())
            after = self._next()
            if after == ")":
                return frozenset(values)
            if after != ",":
                raise _unparsed(f"found '{after}', expected: ',' or ')'")

    def _identifier(self) -> str:
        token = self._next()
        if token in _PUNCTUATION:
            raise _unparsed(f"found '{token}', expected: ',', or identifier")
        return token


def _unparsed(why: str) -> RefusedError:
    return bad_request(f"unable to parse requirement: {why}")


def _check_value(operator: str, key: str, index: int, value: str) -> None:
    if operator in ("<", ">") and not re.fullmatch(r"[+-]?\d+", value):
        text = "for 'Gt', 'Lt' operators, the value must be an integer"
        raise _unparsed(str(invalid_value(f"values[{index}]", value, text)))
    for fault in label_value_faults(value):
        raise _unparsed(str(invalid_value(f"values[{index}][{key}]", value, fault)))


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
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
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
    if resource.view is not None:
        path = resource.view.field(path)
    elif resource is EVENTS and path == "source":
        return section(object_, "source").get("component") or object_.get("reportingComponent") or ""
    head, _, rest = path.partition(".")
    if head == "metadata":
        return metadata(object_).get(rest) or ""
    value: Any = section(object_, head).get(rest) if rest else object_.get(head)
    if isinstance(value, bool) or (value is None and path in ("spec.unschedulable", "spec.hostNetwork")):
        return str(bool(value)).lower()
    return "" if value is None else str(value)
