"""A plan answers as if each condition were asked by itself, however it spares the asking."""

from itertools import product

import pytest

from isthmus.policy.explaining import GivenAttributes
from isthmus.policy.expressions import Unevaluated, activate, compile_expression
from isthmus.policy.plan import Plan
from isthmus.policy.vocabulary import Shape, Value
from tests.policy.building import DENY, policy, rulebook

CONDITIONS = (
    'source.cluster == "east"',
    '"east" == source.cluster',
    'source.cluster in ["east", "west"] && request.path == "/"',
    'request.headers["x-user"] == "joe" && source.cluster == "east"',
    'request.headers["x-user"] in ["joe"]',
    "source.port == 80 && destination.port in [80, 81]",
    'source.cluster == "east" && 1 / source.port == 1',
    '!(source.cluster == "east")',
    'source.cluster == "east" || request.path == "/"',
    'source.cluster == "east" ? request.path == "/" : source.port == 80',
    'source.cluster == request.path && request.path == "/"',
    "source.cluster in []",
    'request.path.startsWith("/") && source.port > 80',
    "connection.mtls",
    "1 / source.port == 1",
)
VALUES: dict[str, tuple[Value | None, ...]] = {
    "source.cluster": (None, "east", "west", "/"),
    "source.port": (None, 0, 80),
    "request.path": (None, "/", "/x"),
    "request.headers": ({}, {"x-user": "joe"}, {"x-user": "ann"}),
}


def alone(text: str, values: dict[str, Value]) -> bool | str:
    """The condition's answer by the runtime alone; as text what stands in its way."""
    condition = compile_expression(text, Shape.BOOL)
    needs = [
        need
        for need in condition.reading.needs
        if (found := values.get(need.attribute)) is None
        or (need.key and isinstance(found, dict) and need.key not in found)
    ]
    if needs and not condition.reading.lenient:
        return "absent"
    found = condition.evaluate(activate(values))
    return ("absent" if needs else "failed") if isinstance(found, Unevaluated) else found is True


@pytest.mark.parametrize(
    "chosen", [CONDITIONS, CONDITIONS[:3], CONDITIONS[7:]], ids=["all", "guarded", "rest"]
)
def test_many_conditions_are_answered_as_each_by_itself(chosen: tuple[str, ...]) -> None:
    book = rulebook(policy(*({"when": text, **DENY} for text in chosen), DENY))
    plan = Plan(book.policies())
    for told in product(*VALUES.values()):
        values = {name: value for name, value in zip(VALUES, told, strict=True) if value is not None}
        values |= {"destination.port": 80, "connection.mtls": False}
        answers = plan.ask(GivenAttributes(values)).answers
        assert answers[-1] is True
        for text, answer in zip(chosen, answers, strict=False):
            said = answer
            if isinstance(answer, Unevaluated):
                said = "absent" if "absent" in answer.reason else "failed"
            assert said == alone(text, values), (text, values, answer)


@pytest.mark.parametrize(
    ("text", "guard"),
    [
        ('source.cluster == "east"', ("source.cluster", {"east"})),
        ('connection.mtls && "a" == request.headers["x-a"]', ('request.headers["x-a"]', {"a"})),
        ("destination.port in [80, 443] && connection.mtls", ("destination.port", {80, 443})),
        ('source.cluster == "east" || connection.mtls', None),
        ('!(source.cluster == "east")', None),
        ("source.cluster == request.host", None),
        ('source.cluster in ["east", request.host]', None),
        ('request.headers["x-a"].size() == 1', None),
        ("connection.mtls == true", None),
    ],
)
def test_a_guard_is_a_constant_that_must_be_there(
    text: str, guard: tuple[str, set[str | int]] | None
) -> None:
    found = compile_expression(text, Shape.BOOL).reading.guard
    assert (None if found is None else (str(found.need), set(found.values))) == guard
