"""Endpoints stay where they are."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from isthmus.lab.controllers.slices import identity, pack


def endpoint(number: int, *, ready: bool = True) -> dict[str, Any]:
    return {"addresses": [f"10.0.0.{number}"], "conditions": {"ready": ready}}


def slice_of(name: str, *numbers: int) -> dict[str, Any]:
    return {"metadata": {"name": name}, "endpoints": [endpoint(number) for number in numbers]}


def test_change_rewrites_only_the_slice_that_holds_it() -> None:
    wanted = [endpoint(1), endpoint(2), endpoint(3, ready=False)]
    packing = pack(wanted, [slice_of("a", 1, 2), slice_of("b", 3)], largest=2)
    assert [(each["metadata"]["name"], now) for each, now in packing.changed] == [
        ("b", [endpoint(3, ready=False)])
    ]
    assert not packing.created
    assert not packing.emptied


def test_new_endpoints_fill_room_before_slices_are_made() -> None:
    packing = pack([endpoint(number) for number in range(5)], [slice_of("a", 0)], largest=2)
    assert packing.changed[0][1] == [endpoint(0), endpoint(1)]
    assert packing.created == [[endpoint(2), endpoint(3)], [endpoint(4)]]


def test_replacing_all_endpoints_reuses_the_slice() -> None:
    packing = pack([endpoint(9)], [slice_of("a", 1)])
    assert packing.changed[0][1] == [endpoint(9)]
    assert not packing.emptied


@given(
    wanted=st.sets(st.integers(0, 40)),
    existing=st.lists(st.lists(st.integers(0, 40), unique=True, max_size=5), max_size=4),
)
def test_packing_holds_each_endpoint_once(wanted: set[int], existing: list[list[int]]) -> None:
    slices = [slice_of(str(index), *numbers) for index, numbers in enumerate(existing)]
    packing = pack([endpoint(number) for number in sorted(wanted)], slices, largest=5)
    contents = {each["metadata"]["name"]: each["endpoints"] for each in slices}
    contents.update({each["metadata"]["name"]: list(now) for each, now in packing.changed})
    for each in packing.emptied:
        del contents[each["metadata"]["name"]]
    held = [*contents.values(), *packing.created]
    assert all(len(each) <= 5 for each in held)
    assert sorted(identity(item) for each in held for item in each) == sorted(
        identity(endpoint(number)) for number in wanted
    )
