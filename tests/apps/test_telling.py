import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from isthmus.apps.telling import Telling
from isthmus.model.resources import CLUSTER, ENDPOINT, ROUTE, ScopeChange
from isthmus.model.service import ClusterId, ServiceKey
from isthmus.model.view import Changes
from isthmus.model.workload import WorkloadKey
from tests.xds.fakes import FakeScope, resource

SERVICES = st.frozensets(st.builds(ServiceKey, st.just("demo"), st.sampled_from("abcdefgh")))
POD = st.builds(WorkloadKey, st.just(ClusterId("west")), st.just("demo"), st.sampled_from("pqrs"))
PODS = st.frozensets(POD)


@given(SERVICES, SERVICES, PODS, SERVICES, st.integers(1, 5))
def test_parts_say_together_what_the_whole_says_and_keep_accounts_with_their_service(
    services: frozenset[ServiceKey],
    endpoints: frozenset[ServiceKey],
    pods: frozenset[WorkloadKey],
    some: frozenset[ServiceKey],
    most: int,
) -> None:
    whole = Changes(services, endpoints, pods, some & (services | endpoints))
    parts = list(whole.parts(most))
    assert all(0 < len(part) <= most for part in parts)
    assert frozenset[ServiceKey]().union(*(part.services for part in parts)) == services
    assert frozenset[ServiceKey]().union(*(part.endpoints for part in parts)) == endpoints
    assert frozenset[WorkloadKey]().union(*(part.workloads for part in parts)) == pods
    for part in parts:
        assert part.accounts == whole.accounts & (part.services | part.endpoints)


def services(first: int, last: int) -> frozenset[ServiceKey]:
    return frozenset(ServiceKey("demo", f"s{number}") for number in range(first, last))


async def test_a_large_change_is_told_by_parts_in_order_and_derived_before_that() -> None:
    scope = FakeScope("mesh", *(resource(CLUSTER, f"s{number}") for number in range(1000)))
    told: list[Changes] = []

    def apply(changes: Changes) -> list[ScopeChange]:
        names = frozenset(key.name for key in changes.services)
        return [ScopeChange(scope, {CLUSTER: names, ENDPOINT: frozenset(), ROUTE: frozenset({"80"})})]

    def publish(changes: Changes, found: Sequence[ScopeChange], _since: float) -> None:
        [change] = found
        large = len(told) > 0
        assert {name for name in change.names[CLUSTER] if scope.reads[name]} == (
            change.names[CLUSTER] if large else set[str]()
        )
        assert not scope.reads["80"]
        told.append(changes)

    telling = Telling(apply, publish)
    small = Changes(services=services(0, 1))
    telling(small)
    assert told == [small], "a small change is told at once"
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(telling.serve())
        telling(Changes(services=services(1, 1000), endpoints=services(1, 2)))
        telling(Changes(services=services(999, 1000)))
        assert told == [small]
        await telling.told()
        serving.cancel()
    assert frozenset[ServiceKey]().union(*(one.services for one in told)) == services(0, 1000)
    assert told[-1] == Changes(services=services(999, 1000)), "what came later is told later"
    assert max(map(len, told)) <= 100
    await asyncio.wait_for(telling.told(), 1)
