import pytest

from isthmus.config.policy import PolicySpec, Rule, Selector, read_policy
from isthmus.config.policy_context import Destination, context_text, destination_of
from isthmus.config.policy_scope import about_requests, rules_for
from tests.policy.building import DENY, Json, policy

ECHO = Destination("west", "demo", "echo", "", "echo", {"app": "echo", "note": '50% "off"'})


class Held:
    """Policies by namespace."""

    def __init__(self, **namespaces: dict[str, PolicySpec]) -> None:
        self._namespaces = namespaces

    def within(self, namespace: str) -> dict[str, PolicySpec]:
        return self._namespaces.get(namespace.replace("-", "_"), {})


def rule(name: str) -> Rule:
    return read_policy(policy({"name": name, **DENY})).spec.rules[0]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (DENY, False),
        ({"when": 'source.cluster == "east"', **DENY}, False),
        ({"when": 'source.account == "request.path"', **DENY}, False),
        ({"when": "source.account == r'''it's \"request.path\"'''", **DENY}, False),
        ({"when": 'source.cluster == "\\"" || request . path == "/"', **DENY}, True),
        ({"list": {"value": "source.ip", "entries": ["a"]}}, False),
        ({"list": {"value": "request.headers['x']", "entries": ["a"]}}, True),
        ({"quota": {"max": 1, "window": "1m"}}, False),
        ({"quota": {"max": 1, "window": "1m", "key": "request.host"}}, True),
        ({"headers": {"request": {"remove": ["x-a"]}}}, True),
    ],
)
def test_a_rule_is_about_requests_where_it_reads_or_changes_one(found: Json, expected: bool) -> None:
    assert about_requests(read_policy(policy(found)).spec.rules[0]) is expected


def test_rules_apply_by_namespace_labels_and_from_the_root_namespace() -> None:
    held = Held(
        demo={
            "all": PolicySpec(rules=(rule("all"),)),
            "echo": PolicySpec(selector=Selector(match_labels={"app": "echo"}), rules=(rule("echo"),)),
            "other": PolicySpec(selector=Selector(match_labels={"app": "other"}), rules=(rule("other"),)),
        },
        other={"elsewhere": PolicySpec(rules=(rule("elsewhere"),))},
        istio_system={
            "mesh": PolicySpec(rules=(rule("mesh"),)),
            "some": PolicySpec(selector=Selector(namespaces=("other",)), rules=(rule("some"),)),
        },
    )
    assert {one.name for one in rules_for(held, ECHO, root_namespace="istio-system")} == {
        "all",
        "echo",
        "mesh",
    }


def test_a_destination_survives_its_way_through_a_proxys_configuration() -> None:
    text = context_text(ECHO)
    assert text.isascii()
    assert destination_of(text) == ECHO
    for refused in ("", "[]", '{"destination.labels": "x"}'):
        with pytest.raises(ValueError, match="destination"):
            destination_of(refused)
