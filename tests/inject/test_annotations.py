"""What Istio's annotations, and the values of the chart, make of the sidecar."""

from typing import Any

import pytest

from isthmus.inject.injection import inject, remarks
from isthmus.inject.settings import RESOURCES, InjectionSettings, NativeSidecars
from isthmus.lib.errors import UserError
from tests.inject.test_injection import environment, injected, named, pod, workload

SIDECAR = "sidecar.istio.io/"
READINESS = "readiness.status.sidecar.istio.io/"


def proxy_of(annotations: dict[str, str], settings: InjectionSettings | None = None) -> dict[str, Any]:
    return named(injected(pod(annotations=annotations), settings)["spec"]["containers"], "istio-proxy")


def test_the_image_is_that_of_both_containers() -> None:
    spec = injected(pod(annotations={f"{SIDECAR}proxyImage": "mine:2"}))["spec"]
    assert {named(spec["containers"], "istio-proxy")["image"], spec["initContainers"][0]["image"]} == {
        "mine:2"
    }


def test_one_resource_by_annotation_lets_all_of_the_meshs_go() -> None:
    assert proxy_of({})["resources"] == RESOURCES
    assert proxy_of({f"{SIDECAR}proxyCPU": "1.5"})["resources"] == {"requests": {"cpu": "1.5"}}
    assert proxy_of({f"{SIDECAR}proxyMemoryLimit": "1Gi", f"{SIDECAR}proxyMemory": "64Mi"})["resources"] == {
        "limits": {"memory": "1Gi"},
        "requests": {"memory": "64Mi"},
    }


def test_the_log_level_is_told_to_the_agent() -> None:
    after = injected(pod(annotations={f"{SIDECAR}logLevel": "trace"}), InjectionSettings(log_level="info"))
    assert environment(after)["ENVOY_LOG_LEVEL"] == "trace"
    assert environment(injected(pod(), InjectionSettings(log_level="info")))["ENVOY_LOG_LEVEL"] == "info"
    assert "ENVOY_LOG_LEVEL" not in environment(injected(pod()))


@pytest.mark.parametrize(
    ("volume", "mount"),
    [
        ('{"extra": {"emptyDir": {}}}', '{"extra": {"mountPath": "/extra"}}'),
        ('[{"name": "extra", "emptyDir": {}}]', '[{"name": "extra", "mountPath": "/extra"}]'),
    ],
)
def test_volumes_of_ones_own_are_mounted_into_the_sidecar(volume: str, mount: str) -> None:
    spec = injected(pod(annotations={f"{SIDECAR}userVolume": volume, f"{SIDECAR}userVolumeMount": mount}))[
        "spec"
    ]
    assert spec["volumes"][-1] == {"name": "extra", "emptyDir": {}}
    mounts = named(spec["containers"], "istio-proxy")["volumeMounts"]
    assert mounts[-1] == {"name": "extra", "mountPath": "/extra"}


def test_the_readiness_probe_is_what_annotations_make_of_it() -> None:
    probe = proxy_of({f"{READINESS}periodSeconds": "9", f"{READINESS}initialDelaySeconds": "0"})[
        "readinessProbe"
    ]
    assert (probe["periodSeconds"], probe["initialDelaySeconds"], probe["failureThreshold"]) == (9, 0, 4)


def test_a_status_port_is_the_agents_and_zero_leaves_all_probes_alone() -> None:
    probe = {"httpGet": {"port": 80}}
    containers = [{"name": "echo", "livenessProbe": probe}]
    for port, asked in (("15999", {"path": "/app-health/echo/livez", "port": 15999}), ("0", {"port": 80})):
        spec = injected(pod(annotations={"status.sidecar.istio.io/port": port}, containers=containers))[
            "spec"
        ]
        assert spec["containers"][0]["livenessProbe"] == {"httpGet": asked}
        proxy = named(spec["containers"], "istio-proxy")
        assert ("readinessProbe" in proxy) is (port != "0")
        assert ('"statusPort":15999' in str(proxy["env"])) is (port != "0")


def test_the_application_is_held_until_the_sidecar_is_ready() -> None:
    after = injected(pod(annotations={"proxy.istio.io/config": "holdApplicationUntilProxyStarts: true"}))
    first = after["spec"]["containers"][0]
    assert first["name"] == "istio-proxy"
    assert first["lifecycle"] == {"postStart": {"exec": {"command": ["isthmus", "agent", "wait"]}}}
    assert after["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == "echo"


@pytest.mark.parametrize(
    ("policy", "wanted", "annotation", "native"),
    [
        ("Always", NativeSidecars.AUTO, None, False),
        ("Never", NativeSidecars.AUTO, None, True),
        ("OnFailure", NativeSidecars.AUTO, None, True),
        ("OnFailure", NativeSidecars.NEVER, None, False),
        ("Always", NativeSidecars.ALWAYS, None, True),
        ("Always", NativeSidecars.NEVER, "true", True),
        ("Never", NativeSidecars.ALWAYS, "false", False),
    ],
)
def test_pods_that_end_get_a_native_sidecar(
    policy: str, wanted: NativeSidecars, annotation: str | None, native: bool
) -> None:
    annotations = {} if annotation is None else {f"{SIDECAR}nativeSidecar": annotation}
    body = pod(annotations=annotations, restartPolicy=policy, initContainers=[{"name": "first"}])
    settings = InjectionSettings(native_sidecars=wanted)
    spec = injected(body, settings)["spec"]
    names = [each["name"] for each in spec["initContainers"]]
    assert names == (["istio-init", "istio-proxy", "first"] if native else ["first", "istio-init"])
    if native:
        proxy = spec["initContainers"][1]
        assert proxy["restartPolicy"] == "Always"
        assert proxy["startupProbe"]["httpGet"] == {"path": "/healthz/ready", "port": 15021}
        assert [each["name"] for each in spec["containers"]] == ["echo"]
    told = any("quitquitquit" in remark for remark in remarks(workload(body), settings))
    assert told is (policy != "Always" and not native)


def test_how_images_are_pulled_is_the_charts_to_say() -> None:
    settings = InjectionSettings(image_pull_policy="Always", image_pull_secrets=("own", "registry"))
    spec = injected(pod(imagePullSecrets=[{"name": "own"}]), settings)["spec"]
    assert spec["imagePullSecrets"] == [{"name": "own"}, {"name": "registry"}]
    assert spec["initContainers"][0]["imagePullPolicy"] == "Always"
    assert named(spec["containers"], "istio-proxy")["imagePullPolicy"] == "Always"


def test_the_meshs_redirection_counts_where_no_annotation_does() -> None:
    settings = InjectionSettings(
        redirection={"exclude_outbound_ports": "9000", "exclude_inbound_ports": "22"}
    )
    body = pod(annotations={"traffic.sidecar.istio.io/excludeOutboundPorts": "3306"})
    arguments = injected(body, settings)["spec"]["initContainers"][0]["args"]
    assert {"--exclude-outbound-ports=3306", "--exclude-inbound-ports=22"} <= set(arguments)


def test_a_label_of_the_applications_own_is_kept() -> None:
    after = injected(pod(labels={"security.istio.io/tlsMode": "disabled"}))
    assert after["metadata"]["labels"] == {"security.istio.io/tlsMode": "disabled"}


def test_what_has_no_effect_is_named() -> None:
    body = pod(
        annotations={
            f"{SIDECAR}statsInclusionPrefixes": "x",
            f"{SIDECAR}inject": "true",
            f"{SIDECAR}interceptionMode": "REDIRECT",
            "traffic.sidecar.istio.io/kubevirtInterfaces": "eth1",
            "example.com/note": "x",
        }
    )
    assert list(remarks(workload(body), InjectionSettings())) == [
        f"annotation {SIDECAR}statsInclusionPrefixes has no effect",
        "annotation traffic.sidecar.istio.io/kubevirtInterfaces has no effect",
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (f"{SIDECAR}proxyCPU", "much"),
        (f"{SIDECAR}proxyMemory", "1 Gi"),
        (f"{SIDECAR}logLevel", "loud"),
        (f"{SIDECAR}userVolume", "{"),
        (f"{SIDECAR}userVolume", '[{"emptyDir": {}}]'),
        (f"{SIDECAR}userVolumeMount", '{"a": 1}'),
        (f"{SIDECAR}rewriteAppHTTPProbers", "maybe"),
        (f"{SIDECAR}nativeSidecar", "1"),
        (f"{SIDECAR}interceptionMode", "TPROXY"),
        ("status.sidecar.istio.io/port", "x"),
        ("status.sidecar.istio.io/port", "65536"),
        (f"{READINESS}periodSeconds", "0"),
        (f"{READINESS}failureThreshold", "-1"),
        ("proxy.istio.io/config", "holdApplicationUntilProxyStarts: 1"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_object_and_annotation(key: str, value: str) -> None:
    with pytest.raises(UserError) as caught:
        inject(workload(pod(annotations={key: value})), InjectionSettings())
    assert str(caught.value).startswith("app.yaml:1: Pod echo: ")
    assert key in str(caught.value)
