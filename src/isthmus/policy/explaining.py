"""`isthmus policy check`: a request out of a YAML file, and what the rules would do with it, rule by rule.

The file is a mapping of attributes, nested (`source: {namespace: demo}`) or not (`source.namespace: demo`).
What it says of the source is taken as proved. One that says nothing of a request is about a connection.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from isthmus.config.policy_context import Destination
from isthmus.lib.errors import UserError
from isthmus.policy.engine import Decision, Step, decide
from isthmus.policy.quotas import MemoryQuotas
from isthmus.policy.rulebook import Rulebook
from isthmus.policy.tally import Tally
from isthmus.policy.vocabulary import VOCABULARY, Shape, Value

_IMPLIED: dict[str, Value] = {"request.headers": {}, "connection.mtls": False}


@dataclass(frozen=True, slots=True)
class GivenAttributes:
    """The attributes of a request that somebody wrote down."""

    values: Mapping[str, Value]
    connection: bool = False
    """Whether they are those of a connection that carries no requests: nothing is said of one."""

    def get(self, name: str) -> Value | None:
        """See `Attributes`."""
        return self.values.get(name)

    def entries(self, name: str, keys: Sequence[str]) -> Mapping[str, str] | None:
        """See `Attributes`."""
        return cast("Mapping[str, str] | None", self.values.get(name))

    @property
    def destination(self) -> Destination:
        """What it is about."""
        names = ("cluster", "namespace", "workload", "service", "account")
        labels = self.values.get("destination.labels") or {}
        return Destination(
            **{name: str(self.values.get(f"destination.{name}", "")) for name in names},
            labels=cast("Mapping[str, str]", labels),
        )


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision, and how it came about. Rules after a refusal were not asked: `unasked` of them.

    `connection`: it is about one without requests, so that rules about requests were left out.
    """

    decision: Decision
    steps: Sequence[Step]
    policies: Sequence[str]
    unasked: int
    connection: bool


def read_request(found: Mapping[str, Any], source: str) -> GivenAttributes:
    """Read the mapping of a request file. Raises UserError naming the attribute."""
    values = dict(_attributes(found, "", source))
    if any(name in values for name in ("source.principal", "source.namespace")):
        values.setdefault("connection.mtls", True)
    return GivenAttributes(
        {**_IMPLIED, **values}, connection=not any(str(key).startswith("request") for key in found)
    )


def _attributes(found: Mapping[str, Any], path: str, source: str) -> Iterator[tuple[str, Value]]:
    for key, value in found.items():
        name = f"{path}.{key}" if path else str(key)
        attribute = VOCABULARY.get(name)
        if attribute is not None:
            yield name, _value(attribute.shape, value, f"{source}: {name}")
        elif isinstance(value, Mapping) and any(known.startswith(f"{name}.") for known in VOCABULARY):
            yield from _attributes(cast("Mapping[str, Any]", value), name, source)
        else:
            known = ", ".join(sorted(one for one in VOCABULARY if one.startswith(name.split(".")[0] + ".")))
            raise UserError(
                f"{source}: {name} is no attribute; write one of: {known or ', '.join(VOCABULARY)}."
            )


def _value(shape: Shape, value: object, what: str) -> Value:
    match shape, value:
        case Shape.STRING, str() | int():
            return str(value)
        case Shape.INT, int():
            return value
        case Shape.BOOL, bool():
            return value
        case Shape.TIME, datetime():
            return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        case Shape.MAP, dict():
            entries = cast("dict[object, object]", value)
            return {
                str(key).lower() if "headers" in what else str(key): str(one) for key, one in entries.items()
            }
        case _:
            raise UserError(f"{what} must be a {shape.value}; correct it.")


async def explain(rulebook: Rulebook, attributes: GivenAttributes) -> Explanation:
    """What would be decided; quotas begin unused, and lists that are fetched are empty."""
    plan = rulebook.plan_for(attributes.destination, connection=attributes.connection)
    steps: list[Step] = []
    decision = await decide(
        plan,
        attributes,
        lists=lambda _: None,
        quotas=MemoryQuotas(),
        tally=Tally(),
        trace=steps,
    )
    policies = [str(policy.ref) for policy in plan.policies]
    return Explanation(decision, steps, policies, len(plan.rules) - len(steps), attributes.connection)
