"""Each kind of failure has its own one sentence."""

import pytest

from isthmus.clusters.advice import advise
from isthmus.clusters.health import Health, Problem, State
from isthmus.kube.errors import ApiError, Unreachable

NOW = 1000.0


def advice(state: State, error: Problem | None = None, expires: float | None = None) -> str:
    health = Health(state, 1, "because", error)
    return advise(health, secret="istio-system/s", server="https://east", expires=expires, now=NOW)


@pytest.mark.parametrize("state", [State.FRESH, State.SYNCING, State.REMOVED])
def test_where_all_is_well_there_is_nothing_to_do(state: State):
    assert advice(state) == ""


def test_every_kind_of_failure_has_its_own_sentence():
    who, rights = ApiError(401, "Unauthorized", ""), ApiError(403, "Forbidden", "")
    said = [
        advice(State.REFUSED),
        advice(State.UNAUTHORISED, who),
        advice(State.UNAUTHORISED, who, expires=NOW - 1),
        advice(State.UNAUTHORISED, rights),
        advice(State.STALE, ApiError(429, "Too Many Requests", "")),
        advice(State.STALE, ApiError(500, "Internal", "")),
        advice(State.STALE, Unreachable("connection refused")),
        advice(State.UNREACHABLE, Unreachable("its certificate is not trusted")),
        advice(State.STALE, None),
    ]
    assert len(set(said)) == len(said)
    assert all(text.endswith(".") and text.count(".") <= 2 for text in said)
