import pytest

from isthmus.agent.settings import parse_labels, read_settings
from isthmus.lib.errors import UserError

ENVIRONMENT = {
    "POD_NAME": "echo-1",
    "POD_NAMESPACE": "demo",
    "INSTANCE_IP": "10.1.2.3",
    "SERVICE_ACCOUNT": "echo",
    "ISTIO_META_CLUSTER_ID": "west",
    "ISTIO_META_NETWORK": "",
    "PROXY_CONFIG": '{"concurrency": 1}',
}


def test_the_injectors_environment_gives_istios_node_id_and_metadata() -> None:
    settings = read_settings(ENVIRONMENT)
    assert settings.node_id == "sidecar~10.1.2.3~echo-1.demo~demo.svc.cluster.local"
    assert settings.metadata == {"CLUSTER_ID": "west"}
    assert settings.proxy.concurrency == 1
    assert settings.delta
    assert settings.drain_seconds == 5.0


def test_state_of_the_world_is_a_matter_of_istios_variable() -> None:
    assert not read_settings({**ENVIRONMENT, "ISTIO_DELTA_XDS": "false"}).delta


@pytest.mark.parametrize("name", ["POD_NAME", "POD_NAMESPACE", "INSTANCE_IP"])
def test_a_missing_variable_is_named(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is not set"):
        read_settings({**ENVIRONMENT, name: ""})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INSTANCE_IP", "10.1.2"),
        ("PROXY_CONFIG", "[]"),
        ("PROXY_CONFIG", "{"),
        ("PROXY_CONFIG", '{"statusPort": "x"}'),
        ("ENVOY_STATUS_PORT", "x"),
        ("ENVOY_PROMETHEUS_PORT", "0"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(UserError, match=name):
        read_settings({**ENVIRONMENT, name: value})


def test_labels_are_read_from_a_downward_api_file() -> None:
    assert parse_labels('app="echo"\nversion="v=1"\nempty=""\n\nnonsense\n') == {
        "app": "echo",
        "version": "v=1",
        "empty": "",
    }
