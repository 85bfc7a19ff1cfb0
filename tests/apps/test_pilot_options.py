import pytest

from isthmus.apps.pilot_options import plain_address
from isthmus.config.mesh import MeshConfig, read_mesh_config
from isthmus.lib.address import HostPort
from isthmus.lib.errors import UserError


@pytest.mark.parametrize(
    ("host", "bound"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.2"),
        ("::1", "::1"),
        ("localhost", "localhost"),
    ],
)
def test_plain_text_is_for_this_machine(host: str, bound: str) -> None:
    assert plain_address(HostPort(host, 15010), MeshConfig()) == HostPort(bound, 15010)


@pytest.mark.parametrize("host", ["10.0.0.1", "pilot.example", "fd00::1"])
def test_plain_text_that_is_asked_for_elsewhere_is_refused_with_a_way_forward(host: str) -> None:
    with pytest.raises(UserError, match="controlPlaneAuthPolicy: NONE"):
        plain_address(HostPort(host, 15010), MeshConfig())


def test_an_operator_may_open_plain_text_to_the_network() -> None:
    mesh = read_mesh_config("defaultConfig: {controlPlaneAuthPolicy: NONE}")
    for host in ("0.0.0.0", "10.0.0.1"):
        assert plain_address(HostPort(host, 15010), mesh) == HostPort(host, 15010)
