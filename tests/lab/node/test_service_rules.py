from isthmus.lab.node.endpoints import ServiceName, Services
from isthmus.lab.node.service_rules import Target, changed_rules, targets_of
from tests.lab.node.builders import endpoint, service, services, slice_of

WEB = ServiceName("demo", "web")


def targets(known: Services) -> dict[str, Target]:
    return {target.chain: target for target in targets_of(known, WEB)}


def test_a_service_leads_to_its_ready_endpoints_with_equal_chances() -> None:
    ready = [endpoint("10.0.0.1"), endpoint("10.0.0.2"), endpoint("10.0.0.3", ready=False)]
    known = services(service(), slice_of("web", *ready))
    rules = changed_rules({}, targets(known))
    assert "-A ISTHMUS-SERVICES -d 10.213.8.20/32 -p tcp -m tcp --dport 80 -j ISTHMUS-SVC-" in rules
    assert rules.count("--to-destination 10.0.0.") == 2
    assert "--probability 0.5000000000" in rules
    assert "10.0.0.3" not in rules
    assert "*filter" not in rules


def test_a_service_without_endpoints_is_refused_at_once() -> None:
    rules = changed_rules({}, targets(services(service())))
    assert "-A ISTHMUS-REJECT -d 10.213.8.20/32 -p tcp -m tcp --dport 80 -j REJECT" in rules
    assert "-A ISTHMUS-SERVICES" not in rules


def test_a_first_endpoint_lifts_the_refusal() -> None:
    without = targets(services(service()))
    rules = changed_rules(without, targets(services(service(), slice_of("web", endpoint("10.0.0.1")))))
    assert ":ISTHMUS-REJECT - [0:0]" in rules
    assert "-A ISTHMUS-REJECT" not in rules
    assert "-A ISTHMUS-SERVICES" in rules


def test_terminating_endpoints_serve_only_while_none_is_ready() -> None:
    leaving = endpoint("10.0.0.1", ready=False, serving=True, terminating=True)
    alone = targets(services(service(), slice_of("web", leaving)))
    assert [target.endpoints for target in alone.values()] == [(("10.0.0.1", 8080),)]
    beside = targets(services(service(), slice_of("web", leaving, endpoint("10.0.0.2"))))
    assert [target.endpoints for target in beside.values()] == [(("10.0.0.2", 8080),)]


def test_a_changed_endpoint_writes_its_own_service_only() -> None:
    other = service("other", "10.213.8.21")
    known = services(service(), other, slice_of("web", endpoint("10.0.0.1")))
    known.put_slice(slice_of("other", endpoint("10.0.0.9")))
    before = targets(known) | {t.chain: t for t in targets_of(known, ServiceName("demo", "other"))}
    known.put_slice(slice_of("web", endpoint("10.0.0.2")))
    after = before | targets(known)
    rules = changed_rules(before, after)
    assert "10.0.0.9" not in rules
    assert "ISTHMUS-SERVICES" not in rules
    assert rules.count("-X ISTHMUS-SEP-") == 1


def test_a_removed_service_leaves_no_chain() -> None:
    known = services(service(), slice_of("web", endpoint("10.0.0.1")))
    before = targets(known)
    known.drop_service(service())
    rules = changed_rules(before, targets(known))
    assert rules.count("-X ISTHMUS-S") == 2
    assert "-A ISTHMUS-SERVICES" not in rules


def test_equal_targets_need_no_rules() -> None:
    known = services(service(), slice_of("web", endpoint("10.0.0.1")))
    assert changed_rules(targets(known), targets(known)) == ""


def test_headless_services_have_no_rules() -> None:
    assert targets(services(service(ip="None"), slice_of("web", endpoint("10.0.0.1")))) == {}


def test_a_pod_that_reaches_itself_is_masqueraded() -> None:
    rules = changed_rules({}, targets(services(service(), slice_of("web", endpoint("10.0.0.1")))))
    assert "-s 10.0.0.1/32 -j ISTHMUS-HAIRPIN" in rules


def test_a_slice_that_changes_its_service_leaves_the_old_one() -> None:
    known = services(service(), slice_of("web", endpoint("10.0.0.1"), suffix="x"))
    moved = slice_of("other", endpoint("10.0.0.1"))
    renamed = type(moved)(
        metadata=type(moved.metadata)(name="web-x", namespace="demo", labels=moved.metadata.labels),
        endpoints=moved.endpoints,
        ports=moved.ports,
    )
    assert set(known.put_slice(renamed)) == {WEB, ServiceName("demo", "other")}
    assert [target.endpoints for target in targets(known).values()] == [()]


def test_bad_addresses_and_foreign_protocols_disturb_no_others() -> None:
    ports = [{"name": "http", "port": 80}, {"name": "http", "port": 81, "protocol": "SCTP"}]
    known = services(
        service(ports=ports), slice_of("web", endpoint("nonsense"), endpoint("::1"), endpoint("10.0.0.1"))
    )
    assert [(t.port, t.endpoints) for t in targets(known).values()] == [(80, (("10.0.0.1", 8080),))]
