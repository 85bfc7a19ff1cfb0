"""The rules that may apply to one destination, in order, and their conditions asked all at once. Pure.

Most conditions ask that something equals a constant, and most requests have another value there: such a
condition is false without being asked (`syntax.Guard`). Those without a guard are asked together, by one call
of the runtime; the few whose guard matches, each by itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from isthmus.policy.expressions import Conditions, Expression, Unevaluated, activate
from isthmus.policy.rules import CompiledPolicy, CompiledRule
from isthmus.policy.syntax import Need, Reading
from isthmus.policy.vocabulary import VOCABULARY, Attributes

Answer: TypeAlias = bool | Unevaluated
_MOST_SHOWN = 60


class Plan:
    """Made once for all destinations to which the same policies apply; `connection`: for those without
    requests.
    """

    def __init__(self, policies: Sequence[CompiledPolicy], *, connection: bool = False) -> None:
        self.policies = tuple(policies)
        self.rules: tuple[CompiledRule, ...] = tuple(
            rule for one in policies for rule in one.rules if not (connection and rule.about_requests)
        )
        self.reads = _Reads(one.reading for rule in self.rules for one in rule.expressions())
        self._untold: list[Answer] = [rule.when is None for rule in self.rules]
        conditions = [(at, rule.when) for at, rule in enumerate(self.rules) if rule.when is not None]
        self._guards = _by_guard(conditions)
        self._together = _Together([(at, one) for at, one in conditions if one.reading.guard is None])

    def ask(self, attributes: Attributes) -> "Asked":
        """Which conditions hold for a request."""
        answers = list(self._untold)
        alone: list[int] = []
        for need, by_value, every in self._guards:
            value = _read(need, attributes)
            alone += every if value is None else by_value.get(value, ())
        self._together.answer(attributes, answers)
        asked = Asked(self, attributes, answers)
        for at in alone:
            condition = self.rules[at].when
            assert condition is not None
            answers[at] = _answer(condition, asked)
        return asked


class Asked:
    """A request's attributes as far as rules need them, and the answer of each rule's condition."""

    __slots__ = ("_activation", "_attributes", "_plan", "_values", "answers")

    def __init__(self, plan: Plan, attributes: Attributes, answers: Sequence[Answer]) -> None:
        self.answers = answers
        self._plan = plan
        self._attributes = attributes
        self._values: dict[str, Any] | None = None
        self._activation: Any = None

    @property
    def values(self) -> Mapping[str, Any]:
        """All that some rule reads, as far as it is there."""
        if self._values is None:
            self._values = self._plan.reads.of(self._attributes)
        return self._values

    def evaluate(self, expression: Expression) -> Any:
        """Its value, or `Unevaluated`."""
        if self._activation is None:
            self._activation = activate(self.values)
        return expression.evaluate(self._activation)

    def found(self, rule: CompiledRule) -> str:
        """What a condition that does not hold reads here, for people."""
        needs = () if rule.when is None else rule.when.reading.needs
        read = [f"{need} is {_shown(need, self.values)}" for need in needs]
        return "its condition does not hold" + (f": {', '.join(read)}" if read else "")

    def text(self, expression: Expression) -> str | Unevaluated:
        """The value of a rule's other expression, which is a string."""
        found = self.evaluate(expression)
        if not isinstance(found, Unevaluated):
            return str(found)
        return _missing(expression, self.values, otherwise=found)


class _Reads:
    """What some expressions read: whole attributes, and of maps the entries that are named, if no more."""

    def __init__(self, readings: Iterable[Reading]) -> None:
        every = list(readings)
        names = {name for one in every for name in one.attributes}
        self._keys = {name: keys for name in names if (keys := _keys(name, every))}
        self._whole = sorted(names - self._keys.keys())

    def of(self, attributes: Attributes) -> dict[str, Any]:
        """By name, what of it is there."""
        values: dict[str, Any] = {}
        for name in self._whole:
            value = attributes.get(name)
            if value is not None:
                values[name] = value
        for name, keys in self._keys.items():
            entries = attributes.entries(name, keys)
            if entries is not None:
                values[name] = entries
        return values


class _Together:
    """Conditions that are asked by one call, each with its rule's place."""

    def __init__(self, conditions: Sequence[tuple[int, Expression]]) -> None:
        self._places = [at for at, _ in conditions]
        self._conditions = [one for _, one in conditions]
        self._asked = Conditions(self._conditions)
        self._reads = _Reads(one.reading for one in self._conditions)
        self._needs = sorted({need for one in self._conditions for need in one.reading.needs})
        self._all_ready = (True,) * len(conditions)

    def answer(self, attributes: Attributes, answers: list[Answer]) -> None:
        """Put their answers into their places."""
        if not self._places:
            return
        values = self._reads.of(attributes)
        lacking = {need for need in self._needs if not _is_there(need, values)}
        ready = self._all_ready
        if lacking:
            ready = tuple(lacking.isdisjoint(one.reading.needs) for one in self._conditions)
        together = self._asked.evaluate(dict(values), ready)
        activation: Any = None
        for at, condition, is_ready, found in zip(
            self._places, self._conditions, ready, together, strict=True
        ):
            if is_ready and found is not None:
                answers[at] = found
            elif not is_ready and not condition.reading.lenient:
                answers[at] = _missing(condition, values)
            else:
                activation = activation or activate(values)
                answers[at] = _told(condition, condition.evaluate(activation), values)


_Guarded: TypeAlias = tuple[Need, Mapping[str | int, Sequence[int]], Sequence[int]]


def _by_guard(conditions: Iterable[tuple[int, Expression]]) -> list[_Guarded]:
    """By what guards read: the places of the rules to be asked, by its value, and all of them without one."""
    found: dict[Need, tuple[dict[str | int, list[int]], list[int]]] = {}
    for at, condition in conditions:
        guard = condition.reading.guard
        if guard is not None:
            by_value, every = found.setdefault(guard.need, ({}, []))
            every.append(at)
            for value in guard.values:
                by_value.setdefault(value, []).append(at)
    return [(need, *places) for need, places in found.items()]


def _read(need: Need, attributes: Attributes) -> Any:
    """What is there, or None."""
    if not need.key:
        return attributes.get(need.attribute)
    entries = attributes.entries(need.attribute, (need.key,))
    return None if entries is None else entries.get(need.key)


def _answer(condition: Expression, asked: Asked) -> Answer:
    """One condition by itself."""
    values = asked.values
    if not condition.reading.lenient and not all(_is_there(need, values) for need in condition.reading.needs):
        return _missing(condition, values)
    return _told(condition, asked.evaluate(condition), values)


def _told(condition: Expression, found: Any, values: Mapping[str, Any]) -> Answer:
    return _missing(condition, values, otherwise=found) if isinstance(found, Unevaluated) else found is True


def _keys(name: str, readings: Sequence[Reading]) -> tuple[str, ...]:
    """The entries that are read of a map; none where it is read as a whole, or is no map."""
    keys = {need.key for one in readings for need in one.needs if need.attribute == name}
    return () if "" in keys else tuple(sorted(keys))


def _is_there(need: Need, values: Mapping[str, Any]) -> bool:
    value = values.get(need.attribute)
    return value is not None and (not need.key or need.key in value)


def _shown(need: Need, values: Mapping[str, Any]) -> str:
    if not _is_there(need, values):
        return "absent"
    value = values[need.attribute]
    text = str(value[need.key] if need.key else value)
    return f"`{text[:_MOST_SHOWN]}{'…' if len(text) > _MOST_SHOWN else ''}`"


def _missing(
    expression: Expression, values: Mapping[str, Any], *, otherwise: Unevaluated | None = None
) -> Unevaluated:
    """Why it has no value: what is absent, the gravest first; `otherwise` where nothing is."""
    absent = [
        Unevaluated(
            f"{need if there else need.attribute} is absent", VOCABULARY[need.attribute].guarded and not there
        )
        for need in expression.reading.needs
        if not _is_there(need, values)
        for there in (need.attribute in values,)
    ]
    gravest = max(absent, key=lambda one: one.unsafe, default=None)
    return gravest or otherwise or Unevaluated("it has no value", unsafe=True)
