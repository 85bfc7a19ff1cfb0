"""The rules that may apply to one destination, in order, and their conditions asked all at once. Pure."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from isthmus.policy.expressions import Activation, Conditions, Expression, Unevaluated, activate
from isthmus.policy.rules import CompiledPolicy, CompiledRule
from isthmus.policy.syntax import Need, Reading
from isthmus.policy.vocabulary import VOCABULARY, Attributes

Answer: TypeAlias = bool | Unevaluated


class Plan:
    """Made once for all destinations to which the same policies apply; `connection`: for those without
    requests.
    """

    def __init__(self, policies: Sequence[CompiledPolicy], *, connection: bool = False) -> None:
        self.policies = tuple(policies)
        self.rules: tuple[CompiledRule, ...] = tuple(
            rule for one in policies for rule in one.rules if not (connection and rule.about_requests)
        )
        self._conditions = [rule.when for rule in self.rules if rule.when is not None]
        self._asked = Conditions(self._conditions)
        self._all_ready = (True,) * len(self._conditions)
        self._all_conditional = len(self._conditions) == len(self.rules)
        readings = [one.reading for rule in self.rules for one in rule.expressions()]
        read = {name for one in readings for name in one.attributes}
        self._keys = {name: keys for name in read if (keys := _keys(name, readings))}
        self._whole = sorted(read - self._keys.keys())
        self._needs = sorted({need for one in self._conditions for need in one.reading.needs})

    def ask(self, attributes: Attributes) -> "Asked":
        """Which conditions hold for a request."""
        values: dict[str, Any] = {}
        for name in self._whole:
            value = attributes.get(name)
            if value is not None:
                values[name] = value
        for name, keys in self._keys.items():
            entries = attributes.entries(name, keys)
            if entries is not None:
                values[name] = entries
        answers = self._answer(values) if self._conditions else []
        if not self._all_conditional:
            conditional = iter(answers)
            answers = [True if rule.when is None else next(conditional) for rule in self.rules]
        return Asked(values, answers)

    def _answer(self, values: dict[str, Any]) -> list[Answer]:
        """One answer a condition."""
        lacking = {need for need in self._needs if not _is_there(need, values)}
        ready = self._all_ready
        if lacking:
            ready = tuple(lacking.isdisjoint(one.reading.needs) for one in self._conditions)
        together = self._asked.evaluate(values, ready)
        answers: list[Answer] = [answer is True for answer in together]
        if lacking or None in together:
            activation: Activation | None = None
            for index, condition in enumerate(self._conditions):
                if ready[index] and together[index] is not None:
                    continue
                if not ready[index] and not condition.reading.lenient:
                    answers[index] = _missing(condition, values)
                    continue
                activation = activation or activate(values)
                found = condition.evaluate(activation)
                if isinstance(found, Unevaluated):
                    found = _missing(condition, values, otherwise=found)
                answers[index] = found if isinstance(found, Unevaluated) else found is True
        return answers


class Asked:
    """A request's attributes as far as rules need them, and the answer of each rule's condition."""

    __slots__ = ("_activation", "_values", "answers")

    def __init__(self, values: dict[str, Any], answers: Sequence[Answer]) -> None:
        self.answers = answers
        self._values = values
        self._activation: Activation | None = None

    def text(self, expression: Expression) -> str | Unevaluated:
        """The value of a rule's other expression, which is a string."""
        self._activation = self._activation or activate(self._values)
        found = expression.evaluate(self._activation)
        if not isinstance(found, Unevaluated):
            return str(found)
        return _missing(expression, self._values, otherwise=found)


def _keys(name: str, readings: Sequence[Reading]) -> tuple[str, ...]:
    """The entries that are read of a map; none where it is read as a whole, or is no map."""
    keys = {need.key for one in readings for need in one.needs if need.attribute == name}
    return () if "" in keys else tuple(sorted(keys))


def _is_there(need: Need, values: dict[str, Any]) -> bool:
    value = values.get(need.attribute)
    return value is not None and (not need.key or need.key in value)


def _missing(
    expression: Expression, values: dict[str, Any], *, otherwise: Unevaluated | None = None
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
