from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from isthmus.model.workload import Endpoint, EndpointGroup, Health, Workload
from isthmus.translate import tls
from isthmus.translate.endpoints import Encoded, encoded, load_assignment
from tests.translate.fake_view import endpoint, pod

DRAINING = health_check_pb2.HealthStatus.Value("DRAINING")


_ADDRESS = st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1"])
_ZONE = st.sampled_from(["", "a", "zone-" * 30])
_WEIGHT = st.integers(0, 100_000)


_BEHIND = st.sampled_from([None, pod("a", "10.0.0.1", tls=True), pod("b", "10.0.0.2")])


def _placed(
    address: str, zone: str, weight: int, health: Health, behind: Workload | None, priority: int
) -> Endpoint:
    made = endpoint(address, zone=zone, weight=weight, health=health, behind=behind)
    return replace(made, priority=priority)


def is_capable(endpoint: Endpoint) -> bool:
    return endpoint.workload is not None and endpoint.workload.tls_capable


def assignment(*endpoints: Endpoint) -> endpoint_pb2.ClusterLoadAssignment:
    groups = [EndpointGroup(endpoints)]
    return endpoint_pb2.ClusterLoadAssignment.FromString(load_assignment("outbound|80||x", groups, encode))


def encode(group: EndpointGroup, mark_draining: bool) -> Encoded:
    return encoded(group, is_capable, mark_draining=mark_draining)


def written_by_protobuf(endpoints: list[Endpoint]) -> bytes:
    """The same assignment by the book, and by nothing of what is tested."""
    usable = [one for one in endpoints if one.health is not Health.UNREADY]
    mark = any(one.health is Health.READY for one in usable)
    made = endpoint_pb2.ClusterLoadAssignment(cluster_name="outbound|80||x")
    places = sorted({(one.priority, one.locality) for one in usable})
    priorities = sorted({priority for priority, _ in places})
    for priority, locality in places:
        group = made.endpoints.add(priority=priorities.index(priority))
        group.locality.SetInParent()
        group.locality.region, group.locality.zone, group.locality.sub_zone = locality
        for one in usable:
            if (one.priority, one.locality) != (priority, locality):
                continue
            member = group.lb_endpoints.add()
            member.endpoint.address.socket_address.address = one.address
            member.endpoint.address.socket_address.port_value = one.port
            member.load_balancing_weight.value = max(one.weight, 1)
            group.load_balancing_weight.value += max(one.weight, 1)
            if is_capable(one):
                member.metadata.CopyFrom(tls.marked_for_tls())
            if mark and one.health is Health.DRAINING:
                member.health_status = DRAINING
    return made.SerializeToString(deterministic=True)


def test_the_joined_bytes_are_one_message() -> None:
    made = assignment(endpoint("10.0.0.2", zone="b"), endpoint("10.0.0.1", zone="a", weight=4))
    assert made.cluster_name == "outbound|80||x"
    assert [(g.locality.region, g.locality.zone) for g in made.endpoints] == [("r1", "a"), ("r1", "b")]
    assert [g.load_balancing_weight.value for g in made.endpoints] == [4, 1]


_ENDPOINTS = st.lists(
    st.builds(_placed, _ADDRESS, _ZONE, _WEIGHT, st.sampled_from(Health), _BEHIND, st.integers(0, 2))
)


@given(st.lists(_ENDPOINTS, max_size=3))
def test_bytes_are_those_of_protobuf_however_endpoints_are_grouped(
    parts: list[list[Endpoint]],
) -> None:
    groups = [EndpointGroup(some) for some in parts]
    made = load_assignment("outbound|80||x", groups, encode)
    assert made == written_by_protobuf([one for some in parts for one in some])


def test_many_endpoints_need_a_length_of_several_bytes() -> None:
    made = assignment(*(endpoint(f"10.0.{i // 250}.{i % 250}") for i in range(1000)))
    assert len(made.endpoints[0].lb_endpoints) == 1000


def test_unready_endpoints_are_left_out_and_none_is_an_empty_assignment() -> None:
    assert not assignment(endpoint("10.0.0.1", health=Health.UNREADY)).endpoints
    assert not assignment().endpoints


def test_draining_endpoints_are_marked_while_another_is_ready() -> None:
    made = assignment(endpoint("10.0.0.1", zone="a", health=Health.DRAINING), endpoint("10.0.0.2", zone="b"))
    assert [g.lb_endpoints[0].health_status == DRAINING for g in made.endpoints] == [True, False]


def test_draining_endpoints_serve_when_they_are_all_there_is() -> None:
    made = assignment(
        endpoint("10.0.0.1", health=Health.DRAINING), endpoint("10.0.0.2", health=Health.UNREADY)
    )
    assert [e.health_status == DRAINING for e in made.endpoints[0].lb_endpoints] == [False]


def test_a_weight_is_at_least_one() -> None:
    assert (
        assignment(endpoint("10.0.0.1", weight=0)).endpoints[0].lb_endpoints[0].load_balancing_weight.value
        == 1
    )


def test_priorities_come_in_order_and_without_gaps_among_what_can_be_used() -> None:
    made = assignment(
        replace(endpoint("10.0.0.1", zone="a"), priority=1),
        endpoint("10.0.0.2", zone="b"),
        replace(endpoint("10.0.0.3", zone="b"), priority=1),
    )
    assert [(g.priority, g.locality.zone) for g in made.endpoints] == [(0, "b"), (1, "a"), (1, "b")]
    alone = assignment(replace(endpoint("10.0.0.1"), priority=1), endpoint("10.0.0.2", health=Health.UNREADY))
    assert [g.priority for g in alone.endpoints] == [0]


def test_endpoints_that_take_mutual_tls_are_marked_and_awaited_ones_are_left_out() -> None:
    secured = replace(endpoint("10.0.0.1"), workload=pod("a", "10.0.0.1", tls=True))
    plain = replace(endpoint("10.0.0.2"), workload=pod("b", "10.0.0.2"))
    by_hand, unknown = endpoint("10.0.0.3"), replace(endpoint("10.0.0.4"), awaited=True)
    made = assignment(secured, plain, by_hand, unknown)
    assert [
        (member.endpoint.address.socket_address.address, dict(member.metadata.filter_metadata))
        for member in made.endpoints[0].lb_endpoints
    ] == [
        ("10.0.0.1", {"envoy.transport_socket_match": {"tlsMode": "istio"}}),
        ("10.0.0.2", {}),
        ("10.0.0.3", {}),
    ]
