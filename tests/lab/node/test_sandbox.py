import pytest

from isthmus.lab.node.sandbox import PodAddresses, SandboxError
from isthmus.lab.plan import ClusterPlan


def test_a_released_address_rests_while_others_are_free() -> None:
    addresses = PodAddresses(ClusterPlan("west", 0))
    first = addresses.take()
    addresses.release(first)
    taken = [addresses.take() for _ in range(1019)]
    assert str(first) == "10.213.4.2"
    assert first not in taken
    assert len(set(taken)) == 1019


def test_the_gateway_and_the_ends_of_the_range_are_never_given() -> None:
    plan = ClusterPlan("west", 0)
    addresses = PodAddresses(plan)
    taken = {addresses.take() for _ in range(1020 + 1)}
    assert not taken & {plan.pod_cidr[0], plan.pod_cidr[1], plan.pod_cidr[-1]}
    with pytest.raises(SandboxError, match=r"all addresses of 10\.213\.4\.0/22"):
        addresses.take()
