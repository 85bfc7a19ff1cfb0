"""Rollouts stay within their bounds, and end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.lab.controllers.rollout import Bounds, Generation, next_sizes, read_bounds


@pytest.mark.parametrize(
    ("desired", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", Bounds(10, 3, 2)),
        (1, "25%", "25%", Bounds(1, 1, 0)),
        (4, 0, 0, Bounds(4, 0, 1)),
        (3, 2, 9, Bounds(3, 2, 3)),
    ],
)
def test_surge_rounds_up_and_unavailable_down(
    desired: int, surge: int | str, unavailable: int | str, expected: Bounds
) -> None:
    assert read_bounds(desired, surge, unavailable) == expected


def test_only_generation_is_scaled_at_once() -> None:
    assert next_sizes(Bounds(5, 1, 0), Generation("new", 1, 1), []) == {"new": 5}
    assert next_sizes(Bounds(0, 1, 0), Generation("new", 3, 3), []) == {"new": 0}


def test_old_pods_that_serve_nobody_go_first() -> None:
    old = [Generation("first", 2, 0), Generation("second", 2, 2)]
    assert next_sizes(Bounds(4, 1, 1), Generation("new", 1, 0), old) == {"new": 1, "first": 1, "second": 2}


def test_unready_new_pods_hold_the_old_ones() -> None:
    sizes = next_sizes(Bounds(4, 1, 0), Generation("new", 1, 0), [Generation("old", 4, 4)])
    assert sizes == {"new": 1, "old": 4}


@given(
    desired=st.integers(1, 12),
    surge=st.integers(0, 4),
    unavailable=st.integers(0, 4),
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=3),
    choices=st.lists(st.integers(0, 3), min_size=400, max_size=400),
)
def test_rollout_ends_within_its_bounds(
    desired: int, surge: int, unavailable: int, sizes: list[int], choices: list[int]
) -> None:
    """Pods become available a few at a time, in an order that is not ours to choose."""
    bounds = read_bounds(desired, surge, unavailable)
    generations = {f"old{index}": Generation(f"old{index}", size, size) for index, size in enumerate(sizes)}
    generations["new"] = Generation("new", 0, 0)
    available_before = sum(sizes)
    for choice in choices:
        old = [each for name, each in generations.items() if name != "new"]
        before = sum(each.replicas for each in generations.values())
        for name, size in next_sizes(bounds, generations["new"], old).items():
            each = generations[name]
            generations[name] = Generation(name, size, min(each.available, size))
        total = sum(each.replicas for each in generations.values())
        available = sum(each.available for each in generations.values())
        assert total <= max(before, desired + bounds.surge)
        assert available >= min(available_before, desired - bounds.unavailable)
        available_before = available
        new = generations["new"]
        generations["new"] = Generation("new", new.replicas, min(new.replicas, new.available + choice))
    left = {each.name: each.replicas for each in generations.values() if each.replicas}
    assert left == {"new": desired} or sum(choices) < 30
