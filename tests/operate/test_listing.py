"""Rows of `isthmus cluster list`, from Secrets and the control plane's page."""

from isthmus.clusters.roster import MULTI_CLUSTER_LABEL
from isthmus.kube.objects import Metadata, Secret
from isthmus.operate.listing import Reported, make_rows
from isthmus.operate.registration import LABEL, read_registrations


def secret(name: str, *keys: str) -> Secret:
    metadata = Metadata(name=name, namespace="mesh", creation_timestamp="2026-01-01T00:00:00Z")
    return Secret(metadata=metadata, data=dict.fromkeys(keys, b"{}"))


def reported(name: str, state: str, secret_name: str = "") -> Reported:
    return Reported(name, state, "2026-01-01T00:00:00.000+00:00", secret_name=secret_name)


def test_the_own_cluster_comes_first_and_secrets_that_were_not_read_yet_are_unknown() -> None:
    joined = read_registrations([secret("many", "b", "a"), secret("late", "c")])
    page = [
        reported("b", "fresh", "mesh/many"),
        reported("west", "fresh"),
        reported("a", "stale", "mesh/many"),
    ]
    rows = [(row.name, row.state) for row in make_rows(joined, page, "mesh")]
    assert rows == [("west", "fresh"), ("a", "stale"), ("b", "fresh"), ("c", "unknown")]


def test_a_secret_that_went_meanwhile_is_shown_as_the_control_plane_says() -> None:
    (row,) = make_rows([], [reported("gone", "removed", "mesh/gone")], "mesh")
    assert (row.name, row.state, row.secret) == ("gone", "removed", "mesh/gone")


def test_the_label_is_what_the_control_plane_looks_for() -> None:
    assert f"{LABEL}=true" == MULTI_CLUSTER_LABEL
