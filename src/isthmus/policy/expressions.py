"""CEL: the one module that knows its runtime (`cel-expr-python`, over Google's C++ implementation).

Expressions are checked against the vocabulary as they are compiled. What the runtime bounds (depth,
iterations) is left to it; size and regular expressions are bounded here, so that a rule costs microseconds
whatever it says. Conditions that are asked together are compiled together: one call answers them all.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from cel_expr_python import cel

from isthmus.policy.patterns import TooHeavy, check_weight
from isthmus.policy.syntax import Reading, SyntaxRefused, read_checked
from isthmus.policy.vocabulary import VOCABULARY, Shape

Scalar: TypeAlias = str | int | bool
Activation: TypeAlias = Any

_TYPES: dict[Shape, Any] = {
    Shape.STRING: cel.Type.STRING,
    Shape.INT: cel.Type.INT,
    Shape.BOOL: cel.Type.BOOL,
    Shape.TIME: cel.Type.TIMESTAMP,
    Shape.MAP: cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
}
_VARIABLES = {attribute.name: _TYPES[attribute.shape] for attribute in VOCABULARY.values()}
_READY = "_ready"
_SINGLE = cel.NewEnv(variables=_VARIABLES)
_TOGETHER = cel.NewEnv(variables={**_VARIABLES, _READY: cel.Type.List(cel.Type.BOOL)})
_MOST_TEXT = 4096
_MOST_TOGETHER = 32
_FIRST_ERROR = re.compile(r"ERROR: <input>:(?P<at>-?\d+:-?\d+): (?P<reason>[^\n]*)")
_STATUS = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")


class ExpressionRefused(Exception):  # noqa: N818 - the domain's word
    """An expression that must be corrected; the text says where (LINE:COLUMN) and why."""


@dataclass(frozen=True, slots=True)
class Unevaluated:
    """An expression has no value for this request: something that it reads is absent, or it fails.

    `unsafe`: a rule that refuses must not be skipped for it.
    """

    reason: str
    unsafe: bool = False


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression of one type; made by `compile_expression` only."""

    text: str
    reading: Reading
    _program: Any = field(repr=False, compare=False)

    def evaluate(self, activation: Activation) -> Scalar | Unevaluated:
        """Its value. An activation is made by `activate` of at least what `reading` names."""
        try:
            value = self._program.eval(activation)
        except RuntimeError as error:  # Out of its iterations.
            return Unevaluated(_without_status(str(error)), unsafe=True)
        if value.type() == cel.Type.ERROR:
            return Unevaluated(_without_status(str(value.value())), unsafe=True)
        found: Scalar = value.value()
        return found


def compile_expression(text: str, wanted: Shape) -> Expression:
    """Check and compile. Raises ExpressionRefused."""
    if len(text) > _MOST_TEXT:
        raise ExpressionRefused(f"has {len(text)} characters; at most {_MOST_TEXT} are allowed")
    if not _is_text(text):
        raise ExpressionRefused("has characters that are none in Unicode")
    try:
        program = _SINGLE.compile(text)
    except RuntimeError as error:
        raise ExpressionRefused(_reason(str(error))) from None
    if program.return_type() != _TYPES[wanted]:
        raise ExpressionRefused(
            f"is of type {program.return_type().name().lower()}; {wanted.value} is needed"
        )
    try:
        reading = read_checked(program.serialize(), VOCABULARY)
    except SyntaxRefused as error:
        raise ExpressionRefused(str(error)) from None
    if reading.patterns:
        _check_patterns(sorted(reading.patterns))
    return Expression(text, reading, program)


def activate(values: Mapping[str, Any]) -> Activation:
    """Values by attribute, for any number of evaluations."""
    return _TOGETHER.Activation(values)


class Conditions:
    """Many conditions, answered by as few calls as possible."""

    def __init__(self, conditions: Sequence[Expression]) -> None:
        self._conditions = conditions
        self._chunks = [
            (start, conditions[start : start + _MOST_TOGETHER])
            for start in range(0, len(conditions), _MOST_TOGETHER)
        ]
        self._programs = [_together(chunk) for _, chunk in self._chunks]

    def evaluate(self, values: dict[str, Any], ready: Sequence[bool]) -> Sequence["bool | None"]:
        """True or False for each that is `ready`, None for those that fail or are not (False where unsaid).

        `values` are the attributes that are there; what a condition reads must be there for it to be ready.
        """
        answers: list[bool | None] = []
        for (start, chunk), program in zip(self._chunks, self._programs, strict=True):
            flags = list(ready[start : start + len(chunk)])
            values[_READY] = flags
            found = None if program is None else _evaluate_together(program, values)
            answers += [None if flag else False for flag in flags] if found is None else found
        return answers


def _together(conditions: Sequence[Expression]) -> Any | None:
    """One program for all of them; None where they are too much for one."""
    # A line's end closes what may be a comment. Each text is a whole expression, so its brackets match.
    parts = (f"({_READY}[{i}] ? ({one.text}\n) : false)" for i, one in enumerate(conditions))
    try:
        return _TOGETHER.compile(f"[{', '.join(parts)}]")
    except RuntimeError:
        return None


def _evaluate_together(program: Any, values: dict[str, Any]) -> "list[bool | None] | None":
    """All answers, or None where one of them fails: then nobody knows which."""
    try:
        found = program.eval(_TOGETHER.Activation(values)).plain_value()
    except RuntimeError:
        return None
    return cast("list[bool | None]", found) if isinstance(found, list) else None


class Pattern:
    """RE2 expressions, any of which may match the whole of a value. Raises ExpressionRefused."""

    def __init__(self, patterns: Sequence[str]) -> None:
        for pattern in patterns:
            _check_patterns([pattern])
        _check_patterns(patterns)
        whole = "^(?:" + "|".join(f"(?:{pattern})" for pattern in patterns) + ")$"
        self._program = _SINGLE.compile(f"source.ip.matches({_quoted(whole)})")

    def matches(self, value: str) -> bool:
        """Whether one of them matches all of `value`."""
        return self._program.eval(_SINGLE.Activation({"source.ip": value})).value() is True


def _check_patterns(patterns: Sequence[str]) -> None:
    """They can be compiled, alone or together, at a bearable cost. Raises ExpressionRefused."""
    shown = (
        f"the regular expression `{patterns[0][:100]}`" if len(patterns) == 1 else "the regular expressions"
    )
    if sum(map(len, patterns)) > _MOST_TEXT:
        raise ExpressionRefused(f"{shown}: more than {_MOST_TEXT} characters")
    try:
        check_weight(patterns)
        found = _SINGLE.compile(f'"".matches({_quoted("|".join(patterns))})').eval(_SINGLE.Activation({}))
    except TooHeavy as error:
        raise ExpressionRefused(f"{shown}: {error}") from None
    except RuntimeError as error:
        raise ExpressionRefused(f"{shown}: {_reason(str(error))}") from None
    if found.type() == cel.Type.ERROR:
        raise ExpressionRefused(_without_status(str(found.value())))


def _is_text(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _quoted(text: str) -> str:
    escaped = "".join(
        f"\\U{ord(char):08x}" if char in "\\'\"" or not char.isprintable() else char for char in text
    )
    return f'"{escaped}"'


def _reason(message: str) -> str:
    """The first fault, as `LINE:COLUMN: reason`."""
    found = _FIRST_ERROR.search(message)
    if found is None:
        return _without_status(message.partition("\n")[0])[:300]
    reason = _without_status(found["reason"]).replace(" (in container '')", "")[:300]
    return reason if found["at"].startswith("-") else f"{found['at']}: {reason}"


def _without_status(text: str) -> str:
    while (shorter := _STATUS.sub("", text)) != text:
        text = shorter
    return text
