"""Names that people type: clusters and pods."""

import pytest

from isthmus.lab.reference import PodReference, parse_reference
from isthmus.lab.up import check_names, command_as_root
from isthmus.lib.errors import UserError


@pytest.mark.parametrize(
    "names", [["west"], ["west", "east"], ["a", "b-1"], [f"c{number}" for number in range(14)]]
)
def test_short_labels_name_clusters(names: list[str]) -> None:
    check_names(names)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ([""], "''"),
        (["West"], "'West'"),
        (["1st"], "'1st'"),
        (["west-"], "'west-'"),
        (["x" * 21], "short"),
        (["west", "west"], "twice"),
        ([f"c{number}" for number in range(15)], "1 to 14"),
    ],
)
def test_other_cluster_names_are_wrong_usage(names: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as refused:
        check_names(names)
    assert refused.value.exit_code == 2


def test_pod_is_named_by_cluster_namespace_and_name() -> None:
    assert parse_reference("west/demo/echo-1") == PodReference("west", "demo", "echo-1")
    assert str(PodReference("west", "demo", "echo-1")) == "west/demo/echo-1"


@pytest.mark.parametrize("text", ["echo", "demo/echo", "west//echo", "a/b/c/d"])
def test_half_a_pod_name_is_wrong_usage(text: str) -> None:
    with pytest.raises(UserError, match="CLUSTER/NAMESPACE/POD"):
        parse_reference(text)


def test_who_is_not_root_is_told_what_to_type_whole() -> None:
    typed = ["isthmus", "lab", "exec", "west/default/web", "--", "sh", "-c", "echo a b"]
    assert command_as_root("exec", typed, {}) == (
        "sudo isthmus lab exec west/default/web -- sh -c 'echo a b'"
    )
    assets = {"KUBEBUILDER_ASSETS": "/opt/kubernetes"}
    assert command_as_root("up", ["isthmus", "lab", "up"], assets) == "sudo -E isthmus lab up"
    assert command_as_root("demo", ["/x/demo"], {}) == "sudo /x/demo lab demo"
