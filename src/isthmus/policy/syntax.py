"""What an expression reads, out of its checked syntax tree (cel.expr.CheckedExpr). Pure.

`request.headers["x-user"]` needs that header, not only the headers. An expression without `&&`, `||`, `?:`
and macros has no value where a need is absent; one with them may have one all the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cel.expr.checked_pb2 import CheckedExpr
from cel.expr.syntax_pb2 import Expr
from google.protobuf.any_pb2 import Any as AnyMessage

from isthmus.policy.vocabulary import Attribute, Shape

_LENIENT = frozenset({"_&&_", "_||_", "_?_:_"})


class Need(NamedTuple):
    """An attribute that is read; of a map, the entry `key` where that is constant."""

    attribute: str
    key: str = ""

    def __str__(self) -> str:
        return f'{self.attribute}["{self.key}"]' if self.key else self.attribute


@dataclass(frozen=True, slots=True)
class Guard:
    """The expression is false wherever `need` is there with none of these values, whatever else it reads."""

    need: Need
    values: frozenset[str | int]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one expression reads. `lenient`: it may have a value although a need is absent."""

    attributes: frozenset[str]
    needs: tuple[Need, ...]
    patterns: frozenset[str]
    lenient: bool
    guard: Guard | None = None


class SyntaxRefused(Exception):  # noqa: N818 - the domain's word
    """What is allowed in CEL but not here; the text says why."""


@dataclass(slots=True)
class _Findings:
    attributes: set[str]
    needs: set[Need]
    patterns: set[str]
    lenient: bool = False


def read_checked(serialized: bytes, vocabulary: Mapping[str, Attribute]) -> Reading:
    """Read a checked expression as the runtime serialises it. Raises SyntaxRefused."""
    envelope = AnyMessage()
    envelope.ParseFromString(serialized)  # pyright: ignore[reportUnknownMemberType]
    checked = CheckedExpr.FromString(envelope.value)
    names = {at: reference.name for at, reference in checked.reference_map.items()}
    found = _Findings(set(), set(), set())
    pending = [(checked.expr, False)]
    while pending:
        expr, looped = pending.pop()
        if looped and expr.call_expr.function == "matches":
            raise SyntaxRefused("matches() is too dear within a macro; use startsWith() and such")
        looped |= expr.WhichOneof("expr_kind") == "comprehension_expr"
        pending += ((below, looped) for below in _read(expr, names, vocabulary, found))
    needs = (need for need in found.needs if vocabulary[need.attribute].may_be_absent)
    return Reading(
        attributes=frozenset(found.attributes),
        needs=tuple(sorted(needs)),
        patterns=frozenset(found.patterns),
        lenient=found.lenient,
        guard=_guard(checked.expr, names, vocabulary),
    )


def _guard(expr: Expr, names: Mapping[int, str], vocabulary: Mapping[str, Attribute]) -> Guard | None:
    """`attribute == constant`, or `in` a list of them, as one part of what must all hold."""
    call = expr.call_expr
    match call.function:
        case "_&&_":
            found = (_guard(one, names, vocabulary) for one in call.args)
            return next((one for one in found if one is not None), None)
        case "_==_":
            one, other = call.args
            pairs = ((one, [other]), (other, [one]))
        case "@in":
            pairs = ((call.args[0], list(call.args[1].list_expr.elements)),)
        case _:
            return None
    for read, constants in pairs:
        need = _scalar(read, names, vocabulary)
        values = frozenset(value for one in constants if (value := _constant(one)) is not None)
        if need is not None and len(values) == len(constants) > 0:
            return Guard(need, values)
    return None


def _scalar(expr: Expr, names: Mapping[int, str], vocabulary: Mapping[str, Attribute]) -> Need | None:
    """The text or number that is read, or None for anything else."""
    attribute = vocabulary.get(names.get(expr.id, ""))
    if attribute is not None:
        return Need(attribute.name) if attribute.shape in (Shape.STRING, Shape.INT) else None
    call = expr.call_expr
    if call.function == "_[_]" and (owner := names.get(call.args[0].id, "")) in vocabulary:
        key = call.args[1].const_expr.string_value
        return Need(owner, key) if key and vocabulary[owner].shape is Shape.MAP else None
    return None


def _constant(expr: Expr) -> str | int | None:
    match expr.const_expr.WhichOneof("constant_kind"):
        case "string_value":
            return expr.const_expr.string_value
        case "int64_value":
            return expr.const_expr.int64_value
        case _:
            return None


def _read(
    expr: Expr, names: Mapping[int, str], vocabulary: Mapping[str, Attribute], found: _Findings
) -> Iterator[Expr]:
    """Note what this node reads; yields the nodes below that are yet to be read."""
    name = names.get(expr.id, "")
    if name in vocabulary:
        found.attributes.add(name)
        found.needs.add(Need(name))
        return
    match expr.WhichOneof("expr_kind"):
        case "select_expr":
            select = expr.select_expr
            owner = names.get(select.operand.id, "")
            if owner not in vocabulary:
                yield select.operand
            else:
                found.attributes.add(owner)
                entry = _entry(owner, select.field)
                found.needs.add(Need(owner) if select.test_only else entry)
        case "call_expr":
            call = expr.call_expr
            found.lenient |= call.function in _LENIENT
            arguments = [call.target, *call.args] if call.HasField("target") else list(call.args)
            if call.function == "matches":
                found.patterns.add(_pattern(arguments[1]))
            elif call.function == "_[_]" and (owner := names.get(arguments[0].id, "")) in vocabulary:
                key = arguments[1].const_expr.string_value
                if key and vocabulary[owner].shape is Shape.MAP:
                    found.attributes.add(owner)
                    found.needs.add(_entry(owner, key))
                    return
            elif call.function == "@in" and (owner := names.get(arguments[1].id, "")) in vocabulary:
                _entry(owner, arguments[0].const_expr.string_value)
            yield from arguments
        case "list_expr":
            yield from expr.list_expr.elements
        case "struct_expr":
            for entry in expr.struct_expr.entries:
                yield entry.value
                if entry.HasField("map_key"):
                    yield entry.map_key
        case "comprehension_expr":
            found.lenient = True
            loop = expr.comprehension_expr
            yield from (loop.iter_range, loop.accu_init, loop.loop_condition, loop.loop_step, loop.result)
        case _:
            pass


def _entry(attribute: str, key: str) -> Need:
    if attribute == "request.headers" and key != key.lower():
        raise SyntaxRefused(
            f"header `{key}` is never there: header names are lower-case, write `{key.lower()}`"
        )
    return Need(attribute, key)


def _pattern(expr: Expr) -> str:
    if expr.WhichOneof("expr_kind") != "const_expr":
        raise SyntaxRefused("matches() needs its regular expression as a constant text")
    return expr.const_expr.string_value
