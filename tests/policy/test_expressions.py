"""What expressions are refused, and why; and that none of them, however wild, does worse than that."""

import os
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus.policy.expressions import (
    Conditions,
    Expression,
    ExpressionRefused,
    Pattern,
    Unevaluated,
    activate,
    compile_expression,
)
from isthmus.policy.vocabulary import VOCABULARY, Shape

VALUES: dict[str, Any] = {
    "source.ip": "10.1.2.3",
    "source.labels": {"app": "client"},
    "request.method": "GET",
    "request.path": "/api?x=1",
    "request.headers": {"x-user": "joe"},
    "request.size": 7,
    "request.time": datetime(2024, 1, 1, 12, tzinfo=UTC),
    "connection.mtls": True,
}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 +", "1:4: Syntax error"),
        ("source.nope == 1", "1:7: undeclared reference to 'source.nope'"),
        ("request.method ==\n 1", "1:16: found no matching overload for '_==_' applied to '(string, int)'"),
        ("source.cluster", "is of type string; bool is needed"),
        ("true) || (true", "1:5: Syntax error"),
        ('request.headers["X-User"] == ""', "header `X-User` is never there: header names are lower-case"),
        ('"X-User" in request.headers', "header `X-User` is never there"),
        ("request.path.matches(request.host)", "needs its regular expression as a constant"),
        ('request.path.matches("(")', "invalid regular expression: missing )"),
        ('request.path.matches("(a{100}){100}")', "weighs 10000, repeated parts counted as often"),
        ('request.headers.exists(k, k.matches("a"))', "matches() is too dear within a macro"),
        ("[" * 40 + "]" * 40 + " == []", "recursion limit exceeded"),
        ("'" + "x" * 5000 + "' == ''", "has 5008 characters; at most 4096 are allowed"),
        ("_ready[0]", "1:1: undeclared reference to '_ready'"),
        ("'\ud800' == ''", "characters that are none in Unicode"),
    ],
)
def test_a_bad_expression_is_refused_with_place_and_reason(text: str, reason: str) -> None:
    with pytest.raises(ExpressionRefused) as refusal:
        compile_expression(text, Shape.BOOL)
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "needs", "lenient"),
    [
        ('source.cluster == "east"', ["source.cluster"], False),
        (
            'request.headers["x-a"] == request.headers.b',
            ['request.headers["b"]', 'request.headers["x-a"]'],
            False,
        ),
        ('"a" in request.headers || has(source.labels.b)', ["request.headers", "source.labels"], True),
        ("request.headers.exists(k, k == source.ip)", ["request.headers", "source.ip"], True),
        ("connection.mtls ? true : false", [], True),
    ],
)
def test_what_an_expression_reads_is_known(text: str, needs: list[str], lenient: bool) -> None:
    reading = compile_expression(text, Shape.BOOL).reading
    assert ([str(need) for need in reading.needs], reading.lenient) == (needs, lenient)


def test_an_endless_loop_ends_as_a_failure() -> None:
    numbers = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"
    loop = f"{numbers}.all(a, " * 5 + "true" + ")" * 5
    found = compile_expression(loop, Shape.BOOL).evaluate(activate({}))
    assert isinstance(found, Unevaluated)
    assert (found.unsafe, found.reason) == (True, "Iteration budget exceeded")
    beside = [compile_expression(text, Shape.BOOL) for text in ("true", loop)]
    assert Conditions(beside).evaluate({}, [True, True]) == [None, None]


def test_a_comment_at_an_expressions_end_hides_nothing_of_its_neighbours() -> None:
    conditions = [
        compile_expression(text, Shape.BOOL) for text in ("false // true", "true // )", "connection.mtls")
    ]
    assert Conditions(conditions).evaluate(dict(VALUES), [True] * 3) == [False, True, True]


def test_many_conditions_are_answered_as_each_by_itself() -> None:
    conditions = [compile_expression(f"request.size == {n % 10}", Shape.BOOL) for n in range(100)]
    assert Conditions(conditions).evaluate(dict(VALUES), [True] * 100) == [n % 10 == 7 for n in range(100)]


_ATOMS = st.sampled_from(
    [
        *VOCABULARY,
        "'a'",
        '"10.0.0.0/8"',
        "1",
        "-1",
        "9223372036854775807",
        "1u",
        "2.5",
        "true",
        "null",
        "[1, 2]",
        "{'a': 1}",
        "b'x'",
    ]
)
_GROWN = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.tuples(
            inner, st.sampled_from(["&&", "||", "==", "!=", "<", "+", "-", "*", "/", "%", "in"]), inner
        ).map(" ".join),
        inner.map("!({})".format),
        inner.map("size({})".format),
        inner.map("string({})".format),
        st.tuples(inner, inner, inner).map(lambda parts: "({} ? {} : {})".format(*parts)),
        st.tuples(inner, inner).map(lambda parts: "{}[{}]".format(*parts)),
        st.tuples(inner, inner).map(lambda parts: "[{}].exists(v, {} == v)".format(*parts)),
        st.tuples(
            inner, st.sampled_from(["startsWith('a')", "matches('a+')", "matches('(')", "contains('')"])
        ).map(".".join),
    ),
    max_leaves=12,
)
_WILD = st.one_of(
    _GROWN,
    st.text(max_size=80),
    st.text("()[]{}.,'\"&|=!?:sourceip request_headers0123456789\\\n", max_size=120),
)


def _holds(text: str) -> None:
    """It is refused with a reason, or has a value, or says why it has none: together as alone."""
    try:
        expression: Expression = compile_expression(text, Shape.BOOL)
    except ExpressionRefused as refused:
        if not str(refused):
            raise
        return
    alone = expression.evaluate(activate(VALUES))
    assert alone.reason if isinstance(alone, Unevaluated) else isinstance(alone, bool)
    neighbours = [compile_expression(one, Shape.BOOL) for one in ("true", "false")]
    together = Conditions([neighbours[0], expression, neighbours[1]]).evaluate(dict(VALUES), [True] * 3)
    assert together in ([True, alone, False], [None, None, None])
    kept_out = Conditions([neighbours[0], expression]).evaluate(dict(VALUES), [True, False])
    assert kept_out in ([True, False], [None, False])


@given(_WILD)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_expression_crashes_and_every_refusal_is_explained(text: str) -> None:
    _holds(text)


@pytest.mark.soak
@given(_WILD)
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_expression_crashes_and_every_refusal_is_explained_however_many(text: str) -> None:
    _holds(text)


@pytest.mark.soak
def test_compiling_and_dropping_expressions_does_not_grow() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def churn(count: int) -> None:
        for number in range(count):
            one = compile_expression(f'request.path == "/{number}" && source.ip != "x"', Shape.BOOL)
            Conditions([one]).evaluate(dict(VALUES), [True])

    churn(2000)
    before = resident()
    churn(10_000)
    assert resident() - before < 16 * 2**20


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        ("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", True),
        ("^/api/v[0-9]+/.*$", True),
        ("(?i)(?:ab|c){100}", True),
        (r"[\]a]{500}\(\{", True),
        (".{63}", True),
        (".{65}", False),
        ("((a{10}){10}){10}", False),
        ("(?P<n>[^a]){100}", False),
        (r"\pL", False),
        (r"[\p{Greek}]", False),
        (r"[[:alpha:]]{600}", False),
        (r"\x{41}{600}", False),
        ("(" * 600, False),
    ],
)
def test_a_regular_expression_is_weighed_before_anybody_runs_it(pattern: str, allowed: bool) -> None:
    if allowed:
        Pattern([pattern])
    else:
        with pytest.raises(ExpressionRefused):
            Pattern([pattern])
