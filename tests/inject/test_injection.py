from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from isthmus.inject.injection import inject
from isthmus.inject.settings import InjectionSettings
from isthmus.inject.status import STATUS
from isthmus.inject.workload import Workload, why_skipped, workload_in
from isthmus.lib.errors import UserError

EXCLUDE_OUT = "traffic.sidecar.istio.io/excludeOutboundPorts"
INJECT = "sidecar.istio.io/inject"
VOLUMES = ["istio-envoy", "istio-podinfo", "istio-token", "istiod-ca-cert"]


def pod(
    *,
    labels: Mapping[str, object] | None = None,
    annotations: Mapping[str, object] | None = None,
    **spec: object,
) -> dict[str, Any]:
    metadata: dict[str, object] = {"name": "echo"}
    if labels is not None:
        metadata["labels"] = labels
    if annotations is not None:
        metadata["annotations"] = annotations
    containers = {"containers": [{"name": "echo", "image": "echo"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**containers, **spec}}


def workload(body: object) -> Workload:
    found = workload_in(body, "app.yaml:1")
    assert found is not None
    return found


def injected(body: object, settings: InjectionSettings | None = None) -> dict[str, Any]:
    return inject(workload(body), settings or InjectionSettings())


def named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(item for item in items if item["name"] == name)


def environment(body: dict[str, Any]) -> dict[str, Any]:
    variables = named(body["spec"]["containers"], "istio-proxy")["env"]
    names = [variable["name"] for variable in variables]
    assert len(names) == len(set(names))
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in variables}


def test_the_sidecar_is_one_init_container_one_container_and_their_volumes() -> None:
    after = injected(pod(volumes=[{"name": "data"}], initContainers=[{"name": "first"}]))
    spec = after["spec"]
    assert [each["name"] for each in spec["initContainers"]] == ["first", "istio-init"]
    assert [each["name"] for each in spec["containers"]] == ["echo", "istio-proxy"]
    assert [each["name"] for each in spec["volumes"]] == ["data", *VOLUMES]
    mounts = {mount["name"] for mount in named(spec["containers"], "istio-proxy")["volumeMounts"]}
    assert mounts == set(VOLUMES)
    assert after["metadata"]["labels"]["security.istio.io/tlsMode"] == "istio"


def test_only_istio_init_is_root_and_only_it_may_change_the_network() -> None:
    spec = injected(pod())["spec"]
    init = named(spec["initContainers"], "istio-init")["securityContext"]
    proxy = named(spec["containers"], "istio-proxy")["securityContext"]
    assert init["runAsUser"] == 0
    assert init["capabilities"] == {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}
    assert proxy["runAsUser"] == proxy["runAsGroup"] == 1337
    assert proxy["readOnlyRootFilesystem"]
    assert proxy["capabilities"] == {"drop": ["ALL"]}
    assert not init["allowPrivilegeEscalation"]
    assert not proxy["allowPrivilegeEscalation"]


def test_the_agent_learns_who_it_is_from_the_pod_and_where_it_is_from_the_settings() -> None:
    settings = InjectionSettings("image:1", "west", "n1", {"discoveryAddress": "pilot.x:1"})
    found = environment(injected(pod(), settings))
    assert found["POD_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert found["INSTANCE_IP"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    assert found["ISTIO_META_CLUSTER_ID"] == "west"
    assert found["ISTIO_META_NETWORK"] == "n1"
    assert found["ISTIO_META_APP_CONTAINERS"] == "echo"
    assert msgspec.json.decode(found["PROXY_CONFIG"]) == {"discoveryAddress": "pilot.x:1"}


def test_what_the_settings_leave_out_is_left_to_the_control_plane() -> None:
    found = environment(injected(pod(), InjectionSettings()))
    assert not {"ISTIO_META_CLUSTER_ID", "ISTIO_META_NETWORK", "CA_ADDR"} & found.keys()
    assert environment(injected(pod(), InjectionSettings(ca_address="ca.x:1")))["CA_ADDR"] == "ca.x:1"


def test_the_sidecar_alone_reads_its_token_and_the_roots() -> None:
    spec = injected(pod())["spec"]
    volumes = {each["name"]: each for each in spec["volumes"]}
    [source] = volumes["istio-token"]["projected"]["sources"]
    assert source["serviceAccountToken"] == {
        "audience": "istio-ca",
        "expirationSeconds": 43200,
        "path": "istio-token",
    }
    assert volumes["istiod-ca-cert"]["configMap"] == {"name": "istio-ca-root-cert"}
    application, proxy = spec["containers"]
    assert "volumeMounts" not in application
    mounts = {each["name"]: each for each in proxy["volumeMounts"]}
    for name, path in (
        ("istio-token", "/var/run/secrets/tokens"),
        ("istiod-ca-cert", "/var/run/secrets/istio"),
    ):
        assert mounts[name] == {"name": name, "mountPath": path, "readOnly": True}


def test_a_pods_proxy_config_is_laid_over_the_meshs() -> None:
    below = {"concurrency": 4, "drainDuration": "9s", "proxyMetadata": {"A": "1", "B": "1"}}
    annotation = "concurrency: 1\nproxyMetadata: {B: '2', POD_NAME: mallory}"
    found = environment(
        injected(
            pod(annotations={"proxy.istio.io/config": annotation}), InjectionSettings(proxy_config=below)
        )
    )
    config = msgspec.json.decode(found["PROXY_CONFIG"])
    assert (config["concurrency"], config["drainDuration"]) == (1, "9s")
    assert (found["A"], found["B"]) == ("1", "2")
    assert found["POD_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_traffic_annotations_become_arguments_of_istio_init() -> None:
    after = injected(
        pod(annotations={EXCLUDE_OUT: "3306", "traffic.sidecar.istio.io/includeInboundPorts": ""})
    )
    arguments = named(after["spec"]["initContainers"], "istio-init")["args"]
    assert "--exclude-outbound-ports=3306" in arguments
    assert "--include-inbound-ports=" in arguments


def test_other_settings_replace_the_sidecar() -> None:
    once = injected(pod(containers=[{"name": "echo"}, {"name": "late"}]))
    once["spec"]["containers"].append({"name": "later"})
    twice = injected(once, InjectionSettings(image="other"))
    names = [each["name"] for each in twice["spec"]["containers"]]
    assert names == ["echo", "late", "later", "istio-proxy"]
    assert named(twice["spec"]["containers"], "istio-proxy")["image"] == "other"


def test_what_an_earlier_injection_added_and_this_one_does_not_goes() -> None:
    status = '{"initContainers":["istio-init"],"containers":["istio-proxy"],"volumes":["istio-token"],"x":1}'
    before = pod(
        annotations={STATUS: status},
        volumes=[{"name": "istio-token"}, {"name": "data"}],
        containers=[{"name": "istio-proxy", "image": "old"}, {"name": "echo"}],
    )
    after = injected(before)
    assert [each["name"] for each in after["spec"]["volumes"]] == ["data", *VOLUMES]
    assert [each["name"] for each in after["spec"]["containers"]] == ["echo", "istio-proxy"]


def test_the_pod_that_came_in_is_not_changed() -> None:
    before = pod(labels={"app": "echo"})
    copy = msgspec.json.decode(msgspec.json.encode(before))
    injected(before)
    assert before == copy


@pytest.mark.parametrize(
    ("labels", "annotations", "skipped"),
    [
        (None, None, False),
        ({INJECT: "false"}, None, True),
        (None, {INJECT: "false"}, True),
        ({INJECT: "true"}, {INJECT: "false"}, False),
        ({INJECT: "false"}, {INJECT: "true"}, True),
        (None, {INJECT: "flase"}, True),
        (None, {INJECT: "True"}, False),
    ],
)
def test_a_pod_may_decline_by_label_before_annotation(
    labels: dict[str, object] | None, annotations: dict[str, object] | None, skipped: bool
) -> None:
    assert (why_skipped(workload(pod(labels=labels, annotations=annotations))) is not None) is skipped


@pytest.mark.parametrize("kind", ["DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"])
def test_kinds_with_a_pod_template_are_workloads(kind: str) -> None:
    body = {"kind": kind, "apiVersion": "apps/v1", "metadata": {"name": "a"}, "spec": {"template": pod()}}
    found = workload(body)
    assert (found.name, found.path) == ("a", ("spec", "template"))
    assert injected(body)["metadata"]["labels"] == {"security.istio.io/tlsMode": "istio"}


def test_other_kinds_and_other_groups_are_no_workloads() -> None:
    for kind, version in (("Service", "v1"), ("Deployment", "example.com/v1"), ("Pod", "example.com/v1")):
        assert workload_in({"kind": kind, "apiVersion": version}, "app.yaml:1") is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "echo"}}, "Pod echo: spec is missing"),
        ({"kind": "Pod", "apiVersion": "v1", "metadata": [], "spec": {}}, "metadata must be a mapping"),
        ({"kind": "Deployment", "apiVersion": "apps/v1", "spec": {}}, "spec.template.spec is missing"),
        ({"kind": "Deployment", "apiVersion": "apps/v1", "spec": {"template": 1}}, "spec.template must be"),
        (pod(containers=[]), "spec.containers is empty"),
        (pod(containers={}), "spec.containers is empty"),
        (pod(containers="x"), "spec.containers must be a list"),
        (pod(containers=[{"image": "x"}]), r"spec.containers\[0\].name is missing"),
        (pod(containers=["x"]), r"spec.containers\[0\].name is missing"),
        (pod(volumes=["x"]), r"spec.volumes\[0\].name is missing"),
        (pod(labels={"a": 1}), r"metadata.labels\[a\] is 1, not a string"),
        (pod(annotations={EXCLUDE_OUT: 3306}), "excludeOutboundPorts] is 3306, not a string"),
        (pod(annotations={EXCLUDE_OUT: "mysql"}), f"annotation {EXCLUDE_OUT}: 'mysql' is no port"),
        (pod(annotations={STATUS: "{"}), r"metadata.annotations\[sidecar.istio.io/status\]"),
        (pod(annotations={STATUS: '{"volumes": 1}'}), r"metadata.annotations\[sidecar.istio.io/status\]"),
        (pod(annotations={"proxy.istio.io/config": "a: ["}), "proxy.istio.io/config"),
        (pod(annotations={"proxy.istio.io/config": "concurrency: x"}), "proxy.istio.io/config.*concurrency"),
        (pod(containers=[{"name": "istio-proxy"}]), r"spec.containers\[0\].name is 'istio-proxy'"),
        (pod(volumes=[{"name": "istio-envoy"}]), r"spec.volumes\[0\].name is 'istio-envoy'"),
        (
            pod(containers=[{"name": "a", "securityContext": {"runAsUser": 1337}}]),
            r"spec.containers\[0\].securityContext.runAsUser is 1337",
        ),
        (pod(containers=[{"name": "a", "securityContext": 1}]), "securityContext must be a mapping"),
    ],
)
def test_a_pod_that_cannot_be_injected_is_refused_by_name_and_field(body: object, field: str) -> None:
    with pytest.raises(UserError, match=field) as caught:
        injected(body)
    assert str(caught.value).startswith("app.yaml:1: ")
