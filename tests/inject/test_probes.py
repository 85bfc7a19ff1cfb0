from typing import Any

import pytest

from isthmus.config.app_probes import AppProbe, Grpc, Header, HttpGet, TcpSocket, read_app_probes
from isthmus.inject.removal import uninject
from isthmus.lib.errors import UserError
from tests.inject.test_injection import environment, injected, named, pod, workload


def container(**fields: Any) -> dict[str, Any]:
    return {"name": "echo", "ports": [{"name": "http", "containerPort": 8080}], **fields}


def told(body: dict[str, Any]) -> dict[str, AppProbe]:
    return dict(read_app_probes(environment(injected(body)).get("ISTIO_KUBE_APP_PROBERS", "")))


def test_each_probe_goes_to_the_agent_which_is_told_what_to_do() -> None:
    http = {"path": "/r", "port": "http", "scheme": "HTTPS", "httpHeaders": [{"name": "a", "value": "b"}]}
    body = pod(
        containers=[
            container(
                readinessProbe={"httpGet": http, "timeoutSeconds": 7, "periodSeconds": 2},
                livenessProbe={"tcpSocket": {"port": "9000"}},
                startupProbe={"grpc": {"port": 9000, "service": "s"}},
            )
        ]
    )
    after = injected(body)["spec"]["containers"][0]
    assert after["readinessProbe"] == {
        "httpGet": {"path": "/app-health/echo/readyz", "port": 15020},
        "timeoutSeconds": 7,
        "periodSeconds": 2,
    }
    assert after["livenessProbe"] == {"httpGet": {"path": "/app-health/echo/livez", "port": 15020}}
    assert after["startupProbe"] == {"httpGet": {"path": "/app-health/echo/startupz", "port": 15020}}
    assert told(body) == {
        "/app-health/echo/readyz": AppProbe(
            http_get=HttpGet(8080, "/r", "HTTPS", (Header("a", "b"),)), timeout_seconds=7
        ),
        "/app-health/echo/livez": AppProbe(tcp_socket=TcpSocket(9000)),
        "/app-health/echo/startupz": AppProbe(grpc=Grpc(9000, "s")),
    }


@pytest.mark.parametrize(
    "probe",
    [
        {"exec": {"command": ["true"]}},
        {"httpGet": {"host": "example.com", "port": 80}},
        {"tcpSocket": {"host": "10.0.0.1", "port": 80}},
        {"httpGet": {"path": "/x", "port": 15020}},
        {},
        None,
    ],
)
def test_probes_that_do_not_meet_envoy_are_left_alone(probe: dict[str, Any] | None) -> None:
    body = pod(containers=[container(livenessProbe=probe)])
    assert injected(body)["spec"]["containers"][0]["livenessProbe"] == probe
    assert told(body) == {}


def test_a_pod_may_keep_its_probes() -> None:
    probe = {"httpGet": {"port": "nowhere"}}
    body = pod(
        annotations={"sidecar.istio.io/rewriteAppHTTPProbers": "false"},
        containers=[container(livenessProbe=probe)],
    )
    assert injected(body)["spec"]["containers"][0]["livenessProbe"] == probe


def test_probes_of_init_containers_go_to_the_agent_only_where_it_is_there_before_them() -> None:
    side = {"name": "side", "restartPolicy": "Always", "startupProbe": {"tcpSocket": {"port": 1}}}
    for policy, rewritten in (("Always", False), ("Never", True)):
        spec = injected(pod(initContainers=[side], restartPolicy=policy))["spec"]
        probe = named(spec["initContainers"], "side")["startupProbe"]
        assert ("httpGet" in probe) is rewritten


def test_probes_that_istio_rewrote_are_known_from_what_it_told_its_agent() -> None:
    asked = {"httpGet": {"path": "/app-health/echo/livez", "port": 15020}, "periodSeconds": 3}
    variable = '{"/app-health/echo/livez":{"httpGet":{"path":"/l","port":80},"timeoutSeconds":1}}'
    before = pod(
        annotations={"sidecar.istio.io/status": '{"containers":["istio-proxy"],"volumes":null}'},
        containers=[
            container(livenessProbe=asked),
            {"name": "istio-proxy", "env": [{"name": "ISTIO_KUBE_APP_PROBERS", "value": variable}]},
        ],
    )
    (plain,) = uninject(workload(before))["spec"]["containers"]
    assert plain == container(livenessProbe={"httpGet": {"path": "/l", "port": 80}, "periodSeconds": 3})
    assert told(before) == {"/app-health/echo/livez": AppProbe(http_get=HttpGet(80, "/l"))}


def test_a_probe_that_was_changed_after_injection_is_the_authors() -> None:
    once = injected(pod(containers=[container(livenessProbe={"httpGet": {"port": 80}})]))
    once["spec"]["containers"][0]["livenessProbe"] = {"exec": {"command": ["true"]}}
    (plain,) = uninject(workload(once))["spec"]["containers"]
    assert plain["livenessProbe"] == {"exec": {"command": ["true"]}}


@pytest.mark.parametrize(
    ("probe", "field"),
    [
        ("x", r"livenessProbe must be"),
        ({"httpGet": "x"}, r"livenessProbe.httpGet must be"),
        (
            {"httpGet": {"port": "web"}},
            r"livenessProbe.httpGet.port is 'web', which no port of its container",
        ),
        ({"tcpSocket": {}}, r"livenessProbe.tcpSocket.port is None, which is no port"),
        ({"grpc": {"port": 70000}}, r"livenessProbe.grpc.port is 70000"),
        ({"tcpSocket": {"port": True}}, r"livenessProbe.tcpSocket.port is True"),
        ({"httpGet": {"port": 80, "path": 1}}, r"livenessProbe is no probe"),
    ],
)
def test_a_bad_probe_is_refused_by_container_and_field(probe: object, field: str) -> None:
    with pytest.raises(UserError, match=rf"Pod echo: spec.containers\[0\]\.{field}"):
        injected(pod(containers=[container(livenessProbe=probe)]))
