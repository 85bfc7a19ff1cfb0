"""Whole checks, bytes to bytes, without a network."""

import pytest

from isthmus.config.policy import Algorithm
from isthmus.config.policy_context import Destination
from isthmus.policy.client import KnownWorkload
from isthmus.policy.errors import Malformed
from isthmus.policy.quotas import MemoryQuotas
from isthmus.policy.tally import Outcome, Tally
from tests.policy.building import (
    CLIENT,
    DENY,
    ECHO,
    FakeWorkloads,
    answer,
    check_request,
    checks,
    denied_by,
    denier,
    denies,
    policy,
    rulebook,
)

WEST_CLIENT = KnownWorkload("west", "demo", "client", "client", {"app": "client"})
EAST_CLIENT = KnownWorkload("east", "demo", "client", "client")


async def test_the_first_rule_that_denies_names_itself_in_body_and_header() -> None:
    book = rulebook(
        policy(
            denies('request.method == "POST"'),
            {"when": "true", "deny": {"status": 423, "message": "No"}},
            DENY,
        )
    )
    response = await answer(checks(book), check_request())
    assert denier(response) == "demo/guard/rule-1"
    assert response.denied_response.status.code == 423
    assert response.denied_response.body == "No (policy demo/guard/rule-1: its condition holds)\n"
    assert response.status.code == 7


async def test_what_no_rule_refuses_is_allowed_by_an_empty_answer() -> None:
    assert await checks(rulebook()).check(check_request()) == b""


async def test_policies_apply_to_their_own_namespace_and_labels_and_the_root_namespace_to_all() -> None:
    own = policy(DENY, selector={"matchLabels": {"app": "echo"}})
    assert await denied_by(rulebook(own), check_request())
    for elsewhere in (Destination(namespace="other", labels={"app": "echo"}), Destination(namespace="demo")):
        assert not await denied_by(rulebook(own), check_request(destination=elsewhere))
    root = policy(DENY, namespace="istio-system", selector={"namespaces": ["demo"]})
    assert await denied_by(rulebook(own, root), check_request()) == "istio-system/guard/rule-0"
    assert not await denied_by(rulebook(root), check_request(destination=Destination(namespace="other")))


async def test_a_source_is_who_its_certificate_says_and_where_the_feed_knows_that_account() -> None:
    book = rulebook(
        policy(
            denies('source.principal != "cluster.local/ns/demo/sa/client" || !connection.mtls'),
            denies('source.cluster == "east" && source.workload == "client" && source.account == "client"'),
        )
    )
    for known, expected in (
        ([EAST_CLIENT], "demo/guard/rule-1"),
        ([WEST_CLIENT], ""),
        ([EAST_CLIENT, KnownWorkload("east", "other", "client", "x")], "demo/guard/rule-1"),
    ):
        message = check_request(principal=CLIENT)
        assert await denied_by(book, message, workloads=FakeWorkloads({"10.1.2.3": known})) == expected


@pytest.mark.parametrize(
    "known",
    [
        (),
        (KnownWorkload("west", "demo", "other", "x"),),
        (WEST_CLIENT, EAST_CLIENT),
        (WEST_CLIENT, KnownWorkload("east", "other", "client", "x")),
    ],
    ids=["unknown", "another account", "two of them", "an address in two clusters"],
)
async def test_a_cluster_that_is_not_proved_is_absent(known: tuple[KnownWorkload, ...]) -> None:
    feed = FakeWorkloads({"10.1.2.3": known})
    for rule, expected in (
        (denies('source.cluster == "east"'), "demo/guard/rule-0"),
        (denies('source.cluster == "east"', absent="skip"), ""),
        (denies('source.cluster == "east" && request.method == "PUT"'), ""),
    ):
        assert (
            await denied_by(rulebook(policy(rule)), check_request(principal=CLIENT), workloads=feed)
            == expected
        )


async def test_headers_and_foreign_certificates_never_say_who_the_source_is() -> None:
    book = rulebook(policy(denies("connection.mtls")))
    headers = {"x-forwarded-client-cert": f"URI={CLIENT}", "x-envoy-peer-metadata": "a"}
    for principal in ("", "spiffe://elsewhere/ns/demo/sa/client", "client.demo"):
        assert not await denied_by(book, check_request(principal=principal, headers=headers))


async def test_a_missing_header_matches_nothing_unless_the_rule_says_so() -> None:
    condition = 'request.headers["x-user"] == "joe"'
    assert not await denied_by(rulebook(policy(denies(condition))), check_request())
    assert await denied_by(rulebook(policy(denies(condition, absent="match"))), check_request())
    assert await denied_by(rulebook(policy(denies(condition))), check_request(headers={"x-user": "joe"}))


async def test_an_expression_that_fails_counts_as_a_match_of_a_rule_that_denies() -> None:
    book = rulebook(policy(denies("1 / request.headers.size() > 5")))
    response = await answer(checks(book), check_request())
    assert "divide by zero" in response.denied_response.body


async def test_a_rule_is_heard_although_another_one_fails_beside_it() -> None:
    book = rulebook(
        policy(denies("1 / request.headers.size() > 5", absent="skip"), denies('request.path == "/secret"'))
    )
    assert await denied_by(book, check_request("/secret")) == "demo/guard/rule-1"
    assert not await denied_by(book, check_request("/"))


async def test_lists_allow_and_deny_by_string_range_and_expression() -> None:
    def listing(value: str, kind: str, entries: list[str], mode: str) -> dict[str, object]:
        return {"value": value, "kind": kind, "entries": entries, "mode": mode}

    for value, kind, entries, path, listed in (
        ("source.ip", "cidr", ["10.1.0.0/16", "fd00::/8"], "/", True),
        ("source.ip", "cidr", ["10.2.0.0/16"], "/", False),
        ("request.url_path", "string", ["/a", "/b"], "/a?x=1", True),
        ("request.url_path", "string", ["/a", "/b"], "/c", False),
        ("request.path", "regex", ["/v[0-9]+/.*", "/x"], "/v1/y", True),
        ("request.path", "regex", ["/v[0-9]+/.*", "/x"], "/a/v1/y", False),
    ):
        for mode in ("allow", "deny"):
            found = rulebook(policy({"list": listing(value, kind, entries, mode)}))
            assert bool(await denied_by(found, check_request(path))) == (listed == (mode == "deny"))


async def test_a_list_of_what_is_absent_refuses_unless_told_to_skip() -> None:
    action = {"value": 'request.headers["x-key"]', "entries": ["k"], "mode": "deny"}
    assert await denied_by(rulebook(policy({"list": action})), check_request())
    assert not await denied_by(rulebook(policy({"list": action, "absent": "skip"})), check_request())


async def test_a_quota_counts_by_key_and_says_when_to_come_back() -> None:
    now = 0.0
    quota = {"max": 2, "window": "1m", "key": 'request.headers["x-user"]', "message": "Slower"}
    service = checks(rulebook(policy({"quota": quota})), quotas=MemoryQuotas(clock=lambda: now))
    joe, ann = check_request(headers={"x-user": "joe"}), check_request(headers={"x-user": "ann"})
    assert [denier(await answer(service, joe)) for _ in range(3)] == ["", "", "demo/guard/rule-0"]
    assert not denier(await answer(service, ann))
    now = 20.5
    refused = (await answer(service, joe)).denied_response
    assert refused.status.code == 429
    assert {h.header.key: h.header.value for h in refused.headers}["retry-after"] == "40"
    now = 60.0
    assert not denier(await answer(service, joe))


async def test_who_withholds_a_quotas_key_is_counted_with_all_who_do() -> None:
    quota = {"max": 1, "window": "1m", "key": 'request.headers["x-user"]'}
    service = checks(rulebook(policy({"quota": quota})))
    assert [bool(denier(await answer(service, check_request()))) for _ in range(2)] == [False, True]


async def test_headers_are_changed_of_what_is_allowed() -> None:
    changes = {
        "request": {
            "add": [{"name": "x-seen", "value": "yes"}],
            "set": [
                {"name": "x-user", "expression": 'request.headers["x-name"]'},
                {"name": "x-ip", "expression": "source.ip"},
            ],
            "remove": ["cookie"],
        },
        "response": {"add": [{"name": "x-by", "value": "isthmus"}]},
    }
    response = (await answer(checks(rulebook(policy({"headers": changes}))), check_request())).ok_response
    assert [(h.header.key, h.header.value) for h in response.headers] == [
        ("x-ip", "10.1.2.3"),
        ("x-seen", "yes"),
    ]
    assert list(response.headers_to_remove) == ["cookie"]
    assert [h.header.key for h in response.response_headers_to_add] == ["x-by"]


async def test_a_dry_run_counts_and_does_nothing() -> None:
    tally = Tally()
    changes = {"headers": {"request": {"remove": ["cookie"]}}, "dryRun": True}
    book = rulebook(policy(denies("true", dryRun=True), changes))
    assert await checks(book, tally=tally).check(check_request()) == b""
    assert tally.rules == {
        ("demo/guard/rule-0", Outcome.DENIED, True): 1,
        ("demo/guard/rule-1", Outcome.MATCHED, True): 1,
    }


async def test_what_is_no_check_is_malformed_and_counted() -> None:
    tally = Tally()
    service = checks(rulebook(), tally=tally)
    for message in (b"\xff\xff", check_request()[:-3]):
        with pytest.raises(Malformed):
            await service.check(message)
    assert tally.checks == {"malformed": 2}


async def test_more_query_parameters_than_honest_clients_send_open_no_way_past_a_rule() -> None:
    book = rulebook(policy(denies('request.query_params["user"] == "root"')))
    assert not await denied_by(book, check_request("/?user=joe"))
    assert not await denied_by(book, check_request("/?x=1"))
    assert await denied_by(book, check_request("/?" + "a=1&" * 2000 + "user=root"))


async def test_destinations_to_which_the_same_policies_apply_share_one_plan() -> None:
    book = rulebook(policy(DENY), policy(DENY, namespace="other"))
    plans = {id(book.plan_for(Destination(namespace="demo", workload=str(n)))) for n in range(20)}
    assert len(plans) == 1
    kept = book.plan_for(ECHO)
    book.apply(policy(denies("true"), namespace="other"))
    assert book.plan_for(ECHO) is kept


def test_algorithms_are_spelt_as_in_yaml() -> None:
    assert [one.value for one in Algorithm] == ["fixed", "rolling"]
