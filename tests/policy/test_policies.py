"""What objects are refused, by field and reason; which version is in force."""

from pathlib import Path
from typing import Any

import pytest

from isthmus.config.policy import PolicyRef, PolicyRefused, read_policy
from isthmus.config.policy_context import Destination, context_of, destination_in
from isthmus.config.store import ConfigStore
from isthmus.kube.decoding import Ref
from isthmus.policy.compiling import compiled_policies
from isthmus.policy.rulebook import Rulebook
from isthmus.policy.vocabulary import VOCABULARY
from tests.policy.building import DENY, ECHO, ROOT, Json, check_request, denied_by, denies, policy, rulebook

TREE = Path(__file__).parents[2]
LIST: Json = {"value": "source.ip", "entries": ["a"]}
QUOTA: Json = {"max": 1, "window": "1m"}


def header(**edit: Any) -> Json:
    return {"headers": {"request": {"set": [edit]}}}


@pytest.mark.parametrize(
    ("rule", "field", "reason"),
    [
        ({}, "spec.rules[0]", "must have one action"),
        ({"deny": {}, "quota": QUOTA}, "spec.rules[0]", "must have one action"),
        ({"deny": {}, "wehn": "true"}, "spec.rules[0]", "unknown field `wehn`"),
        ({"deny": {"status": 200}}, "spec.rules[0].deny.status", "expected `int` >= 400"),
        ({"deny": {"status": 419}}, "spec.rules[0].deny.status", "no status that Envoy answers with"),
        ({"deny": {}, "when": "1 +"}, "spec.rules[0].when", "1:4: Syntax error"),
        ({"deny": {}, "absent": "maybe"}, "spec.rules[0].absent", "invalid enum value 'maybe'"),
        ({"name": "A b", "deny": {}}, "spec.rules[0].name", "expected `str` matching regex"),
        ({"name": "a\n", "deny": {}}, "spec.rules[0].name", "line's end"),
        ({"list": {"value": "source.ip"}}, "spec.rules[0].list", "neither entries nor a url"),
        ({"list": {**LIST, "url": "http://a/"}}, "spec.rules[0].list", "keep one of them"),
        (
            {"list": {"value": "source.ip", "url": "file:///etc/passwd"}},
            "spec.rules[0].list.url",
            "http or https",
        ),
        ({"list": {**LIST, "kind": "cidr"}}, "spec.rules[0].list.entries[0]", "give CIDRs"),
        (
            {"list": {**LIST, "kind": "regex", "entries": ["x", "("]}},
            "spec.rules[0].list.entries[1]",
            "missing )",
        ),
        ({"list": {**LIST, "value": "source.port"}}, "spec.rules[0].list.value", "string is needed"),
        ({"list": {**LIST, "refresh": "10"}}, "spec.rules[0].list.refresh", "is not a duration"),
        ({"quota": {**QUOTA, "window": "10ms"}}, "spec.rules[0].quota.window", "from 1s"),
        ({"quota": {**QUOTA, "key": "source.nope"}}, "spec.rules[0].quota.key", "1:7: undeclared"),
        (header(name="host", value="x"), "spec.rules[0].headers.request.set[0].name", "Envoy's own"),
        (header(name=":path", value="x"), "spec.rules[0].headers.request.set[0].name", "matching regex"),
        (header(name="x", value="a\n"), "spec.rules[0].headers.request.set[0]", "line ends"),
        (header(name="x"), "spec.rules[0].headers.request.set[0]", "a value or an expression"),
        (
            header(name="x", expression="1"),
            "spec.rules[0].headers.request.set[0].expression",
            "string is needed",
        ),
    ],
)
def test_a_bad_rule_is_refused_by_object_field_and_reason(rule: Json, field: str, reason: str) -> None:
    refusal = Rulebook(root_namespace=ROOT).apply(policy(rule)).refusal
    assert refusal is not None
    assert (refusal.ref, refusal.field) == (PolicyRef("demo", "guard"), field)
    assert reason in refusal.reason
    assert str(refusal).startswith(f"Policy demo/guard: {field}: ")


def test_names_are_used_once_and_only_the_root_namespace_reaches_others() -> None:
    limit = {"name": "l", "domain": "d", "entries": [{"key": "k"}], "max": 1, "window": "1s"}
    cases: list[tuple[Json, str]] = [
        (policy({**DENY, "name": "a"}, {**DENY, "name": "a"}), "spec.rules[1].name"),
        (policy(DENY, selector={"namespaces": ["other"]}), "spec.selector.namespaces"),
        (policy(limits=[limit]), "spec.limits"),
        ({**policy(DENY), "apiVersion": "v1"}, "apiVersion"),
        ({**policy(DENY), "spec": []}, "spec"),
        (policy(DENY, rules=7), "spec.rules"),
    ]
    for found, field in cases:
        with pytest.raises(PolicyRefused) as refusal:
            rulebook_of(found)
        assert refusal.value.field == field
    rulebook_of(policy(DENY, namespace=ROOT, limits=[limit], selector={"namespaces": ["other"]}))


def rulebook_of(found: Json) -> None:
    refusal = Rulebook(root_namespace=ROOT).apply(found).refusal
    if refusal is not None:
        raise refusal


async def test_the_last_good_version_stays_in_force_while_a_bad_one_is_there() -> None:
    book = rulebook(policy(denies('request.path == "/a"')))
    book.apply(policy(denies("nonsense")))
    assert list(book.rejected) == [PolicyRef("demo", "guard")]
    assert await denied_by(book, check_request("/a"))
    book.apply(policy(denies('request.path == "/b"')))
    assert not book.rejected
    assert (await denied_by(book, check_request("/a")), bool(await denied_by(book, check_request("/b")))) == (
        "",
        True,
    )
    book.remove(PolicyRef("demo", "guard"))
    assert not await denied_by(book, check_request("/b"))


def test_status_and_generation_are_read_and_a_strange_status_is_none() -> None:
    found = policy(DENY)
    found["metadata"]["generation"] = 3
    for status, accepted in (
        ({"accepted": True, "observedGeneration": 3}, True),
        ("odd", None),
        (None, None),
    ):
        read = read_policy({**found, "status": status})
        assert (read.generation, read.status.accepted if read.status else None) == (3, accepted)


def test_the_static_context_of_a_destination_comes_back_as_it_was() -> None:
    for destination in (ECHO, Destination(), Destination(namespace="demo", labels={"a": 'q"\\é', "b": ""})):
        assert destination_in(context_of(destination)) == destination
    assert context_of(ECHO)["destination.labels"] == '{"app":"echo"}'
    for labels in ("[]", "{", '{"a":1}'):
        with pytest.raises(ValueError, match=r"destination\.labels"):
            destination_in({"destination.labels": labels})


def test_the_operators_page_names_every_attribute_and_field() -> None:
    text = (TREE / "docs/policy.md").read_text()
    assert [name for name in VOCABULARY if f"`{name}`" not in text] == []


def test_an_item_of_a_list_need_not_say_its_kind() -> None:
    found = policy(DENY)
    assert read_policy({key: found[key] for key in ("metadata", "spec")}).spec == read_policy(found).spec


def test_who_puts_checks_into_proxies_keeps_the_version_that_the_policy_server_keeps() -> None:
    store, book = ConfigStore(compiled_policies(ROOT)), rulebook()
    ref = Ref("demo", "guard")
    good = policy(denies("connection.mtls"), selector={"matchLabels": {"app": "echo"}})
    for found, refused in ((good, ""), (policy(denies("sauce.cluster == 1")), "spec.rules[0].when")):
        refusal, verdict = store.apply(ref, found), book.apply(found)
        assert [one.field if one else "" for one in (refusal, verdict.refusal)] == [refused, refused]
    kept = store.get(ref)
    assert kept is not None
    assert [kept.selector] == [one.selector for one in book.policies()]
    assert kept.selector.match_labels == {"app": "echo"}
