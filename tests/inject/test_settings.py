import pytest

from isthmus.inject.settings import default_proxy_config, overlay
from isthmus.lib.errors import UserError


def test_the_meshs_default_config_is_taken_as_it_is_written() -> None:
    mesh = "trustDomain: x\ndefaultConfig:\n  concurrency: 4\n  tracing: {sampling: 1}\n"
    assert default_proxy_config(mesh, "mesh.yaml") == {"concurrency": 4, "tracing": {"sampling": 1}}


@pytest.mark.parametrize("mesh", ["", "# nothing\n", "trustDomain: x\n", "defaultConfig:\n"])
def test_a_mesh_without_one_has_none(mesh: str) -> None:
    assert default_proxy_config(mesh, "mesh.yaml") == {}


@pytest.mark.parametrize(
    ("mesh", "sentence"),
    [
        ("a: [", "no YAML"),
        ("- a", "no mesh config"),
        ("defaultConfig: x", "defaultConfig must be a mapping"),
        ("defaultConfig: {concurrency: x}", "defaultConfig.*concurrency"),
        ("defaultConfig: {discoveryAddress: x}", "defaultConfig: discoveryAddress"),
    ],
)
def test_a_bad_mesh_config_is_refused_by_file_and_field(mesh: str, sentence: str) -> None:
    with pytest.raises(UserError, match=f"mesh.yaml.*{sentence}"):
        default_proxy_config(mesh, "mesh.yaml")


def test_proxy_metadata_is_united_and_the_rest_replaced() -> None:
    below = {"concurrency": 1, "drainDuration": "1s", "proxyMetadata": {"A": "1"}}
    assert overlay(below, {"concurrency": 2, "proxyMetadata": {"B": "2"}}) == {
        "concurrency": 2,
        "drainDuration": "1s",
        "proxyMetadata": {"A": "1", "B": "2"},
    }
