"""Over pods of all shapes: injecting twice is injecting once, and taking out gives back what went in."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from isthmus.inject.injection import inject
from isthmus.inject.removal import uninject
from isthmus.inject.settings import InjectionSettings, NativeSidecars
from tests.inject.test_injection import workload

Strategy = st.SearchStrategy[Any]

PORTS: Strategy = st.one_of(st.integers(1, 14999), st.just("http"), st.just("8080"))
HANDLERS: Strategy = st.one_of(
    st.fixed_dictionaries(
        {"httpGet": st.fixed_dictionaries({"port": PORTS}, optional={"path": st.just("/x")})}
    ),
    st.fixed_dictionaries({"tcpSocket": st.fixed_dictionaries({"port": PORTS})}),
    st.fixed_dictionaries({"grpc": st.fixed_dictionaries({"port": st.integers(1, 14999)})}),
    st.just({"exec": {"command": ["true"]}}),
)


def _probe(handler: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    return {**handler, **rest}


PROBES: Strategy = st.builds(
    _probe,
    HANDLERS,
    st.fixed_dictionaries({}, optional={"timeoutSeconds": st.integers(1, 9), "periodSeconds": st.just(3)}),
)


def container(name: str, restarts: bool) -> Strategy:
    """Only containers that run on may have probes (core/v1 Container)."""
    probes = dict.fromkeys(("livenessProbe", "readinessProbe", "startupProbe"), PROBES)
    return st.fixed_dictionaries(
        {
            "name": st.just(name),
            "image": st.just("app"),
            "ports": st.just([{"name": "http", "containerPort": 80}]),
        },
        optional={"env": st.just([{"name": "A", "value": "1"}]), **(probes if restarts else {})},
    )


def containers(prefix: str, least: int, restarts: bool) -> Strategy:
    return st.integers(least, 3).flatmap(
        lambda count: st.tuples(*(container(f"{prefix}{index}", restarts) for index in range(count))).map(
            list
        )
    )


def native(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**item, "restartPolicy": "Always"} for item in items]


LABELS: Strategy = st.sampled_from(
    [{"app": "echo"}, {"security.istio.io/tlsMode": "istio"}, {"a": "1", "b": "2"}]
)
ANNOTATIONS: Strategy = st.fixed_dictionaries(
    {"example.com/own": st.just("1")},
    optional={
        "proxy.istio.io/config": st.just("holdApplicationUntilProxyStarts: true"),
        "sidecar.istio.io/userVolume": st.just('{"extra": {"emptyDir": {}}}'),
        "sidecar.istio.io/nativeSidecar": st.sampled_from(["true", "false"]),
        "sidecar.istio.io/rewriteAppHTTPProbers": st.just("false"),
        "kubectl.kubernetes.io/default-container": st.just("app0"),
    },
)
PODS: Strategy = st.fixed_dictionaries(
    {
        "apiVersion": st.just("v1"),
        "kind": st.just("Pod"),
        "metadata": st.fixed_dictionaries(
            {"name": st.just("echo")}, optional={"labels": LABELS, "annotations": ANNOTATIONS}
        ),
        "spec": st.fixed_dictionaries(
            {"containers": containers("app", 1, restarts=True)},
            optional={
                "initContainers": st.one_of(
                    containers("init", 1, restarts=False), containers("side", 1, restarts=True).map(native)
                ),
                "volumes": st.just([{"name": "data", "emptyDir": {}}]),
                "imagePullSecrets": st.just([{"name": "own"}]),
                "restartPolicy": st.sampled_from(["Always", "Never", "OnFailure"]),
            },
        ),
    }
)
SETTINGS = st.builds(
    InjectionSettings,
    native_sidecars=st.sampled_from(NativeSidecars),
    image=st.sampled_from(["a", "b"]),
    image_pull_secrets=st.sampled_from([(), ("own",), ("registry",)]),
)


@given(PODS, SETTINGS)
def test_injecting_again_changes_nothing(body: dict[str, Any], settings: InjectionSettings) -> None:
    once = inject(workload(body), settings)
    assert inject(workload(once), settings) == once


@given(PODS, SETTINGS, SETTINGS)
def test_the_last_settings_are_all_that_is_left(
    body: dict[str, Any], first: InjectionSettings, last: InjectionSettings
) -> None:
    assert inject(workload(inject(workload(body), first)), last) == inject(workload(body), last)


@given(PODS, SETTINGS)
def test_taking_the_sidecar_out_gives_back_what_went_in(
    body: dict[str, Any], settings: InjectionSettings
) -> None:
    before = msgspec.json.encode(body)
    once = inject(workload(body), settings)
    assert uninject(workload(once)) == body
    assert uninject(workload(body)) == body
    assert msgspec.json.encode(body) == before
