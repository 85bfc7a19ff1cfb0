"""Who stands behind a Service, and in what health."""

from typing import Any

from isthmus.lab.controllers.endpoints import EndpointPort, derive_members, derive_subsets
from isthmus.lab.controllers.mirroring import derive_mirror
from isthmus.lab.controllers.objects import matches, merge_conditions
from isthmus.lab.controllers.replicasets import usefulness


def pod(name: str, ip: str = "10.0.0.1", *, ready: bool = True, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "demo", "uid": f"uid-{name}", **metadata},
        "spec": {
            "nodeName": "node",
            "containers": [{"ports": [{"name": "web", "containerPort": 8080}]}],
        },
        "status": {
            "podIP": ip,
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def service(**spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": "web"}]
    return {"metadata": {"name": "echo", "namespace": "demo"}, "spec": {"ports": ports, **spec}}


def no_zone(node: str) -> str:
    return ""


def test_terminating_pod_serves_but_is_not_ready() -> None:
    (member,) = derive_members(service(), [pod("a", deletionTimestamp="2026-01-01T00:00:00Z")], no_zone)
    assert (member.ready, member.serving, member.terminating) == (False, True, True)
    assert derive_subsets("echo", [member]) == []


def test_named_target_port_is_looked_up_in_each_pod() -> None:
    other = pod("b")
    other["spec"]["containers"][0]["ports"][0]["containerPort"] = 9090
    without = pod("c")
    without["spec"]["containers"][0]["ports"] = []
    members = derive_members(service(), [pod("a"), other, without], no_zone)
    assert [member.ports for member in members] == [
        (EndpointPort("http", 8080, "TCP"),),
        (EndpointPort("http", 9090, "TCP"),),
        (),
    ]


def test_publishing_unready_addresses_makes_all_ready() -> None:
    (member,) = derive_members(service(publishNotReadyAddresses=True), [pod("a", ready=False)], no_zone)
    assert member.ready
    assert not member.serving


def test_pods_without_address_or_finished_are_no_endpoints() -> None:
    finished = pod("b")
    finished["status"]["phase"] = "Succeeded"
    assert derive_members(service(), [pod("a", ""), finished], no_zone) == []


def test_unready_pods_are_unready_addresses() -> None:
    members = derive_members(service(), [pod("a"), pod("b", "10.0.0.2", ready=False)], lambda node: "z1")
    (subset,) = derive_subsets("echo", members)
    assert [each["ip"] for each in subset["addresses"]] == ["10.0.0.1"]
    assert [each["ip"] for each in subset["notReadyAddresses"]] == ["10.0.0.2"]
    assert members[0].to_slice_endpoint("echo")["zone"] == "z1"


def test_endpoints_are_mirrored_with_their_ports() -> None:
    subset = {"addresses": [{"ip": "10.1.0.5"}], "ports": [{"name": "grpc-xds", "port": 15010}]}
    assert derive_mirror({"subsets": [subset]}) == {
        (EndpointPort("grpc-xds", 15010, "TCP"),): [
            {
                "addresses": ["10.1.0.5"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
            }
        ]
    }


def test_selectors_with_expressions() -> None:
    selector = {
        "matchLabels": {"app": "echo"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "old", "operator": "DoesNotExist"},
        ],
    }
    assert matches(selector, {"app": "echo", "tier": "b"})
    assert not matches(selector, {"app": "echo", "tier": "c"})
    assert not matches(selector, {"app": "echo", "tier": "a", "old": ""})
    assert matches({}, {})


def test_transition_time_moves_only_with_the_status() -> None:
    (first,) = merge_conditions([], [{"type": "Available", "status": "True", "reason": "A"}])
    first["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    (second,) = merge_conditions([first], [{"type": "Available", "status": "True", "reason": "B"}])
    (third,) = merge_conditions([second], [{"type": "Available", "status": "False", "reason": "B"}])
    assert second["lastTransitionTime"] == "2020-01-01T00:00:00Z"
    assert third["lastTransitionTime"] != "2020-01-01T00:00:00Z"


def test_unready_and_young_pods_are_given_up_first() -> None:
    old = pod("old", creationTimestamp="2026-01-01T00:00:00Z")
    young = pod("young", creationTimestamp="2026-01-02T00:00:00Z")
    unready = pod("unready", ready=False, creationTimestamp="2026-01-01T00:00:00Z")
    ordered = sorted([old, young, unready], key=usefulness)
    assert [each["metadata"]["name"] for each in ordered] == ["unready", "young", "old"]
