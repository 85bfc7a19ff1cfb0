"""The demonstration shows what it promises, twice."""

import json
from collections.abc import Sequence

import pytest

from isthmus.lab.plan import ClusterPlan
from tests.e2e.commands import lab

LONG = [pytest.param(f"for the {n}th time", marks=pytest.mark.soak) for n in range(3, 13)]


@pytest.mark.parametrize("run", ["first", "again", *LONG])
def test_demo_shows_the_mesh(plans: Sequence[ClusterPlan], run: str) -> None:
    steps = json.loads(lab("demo", timeout=150).splitlines()[-1])["steps"]
    counted, added, killed, deleted, back = steps
    assert [step["failed"] for step in steps] == [0] * 5
    assert all(step["ms"] >= 0 for step in steps)
    assert clusters(counted) == {"west": 2, "east": 2}
    assert clusters(added) == {"west": 2, "east": 3}
    assert clusters(killed)["west"] == 2
    assert set(added["answers"]) - set(killed["answers"])
    assert clusters(deleted) == {"west": 2}
    assert clusters(back)["east"] >= 1


def clusters(step: dict[str, dict[str, int]]) -> dict[str, int]:
    """How many pods of each cluster answered."""
    names = [who.partition("/")[0] for who in step["answers"]]
    return {name: names.count(name) for name in names}
