"""The chart of the control plane: what the guide's next lines and the product's own programs expect of it."""

import json
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus.apps.policy_options import ROOTS, TOKEN
from isthmus.cli.main import COMMANDS
from isthmus.cli.pilot import pilot
from isthmus.cli.statsd_bridge import statsd_bridge
from isthmus.clusters.renewal import LEASE
from isthmus.config.chart_schemas import mesh_schema
from isthmus.config.crds import DEFINITIONS
from isthmus.config.mesh import read_mesh_config
from isthmus.config.workload_feed import ACCOUNT
from isthmus.inject.containers import proxy_container
from tests.charts.rendering import (
    CLUSTER_WIDE,
    CONTROL_PLANE,
    REMOTE,
    Object,
    names,
    one,
    parse,
    refusal,
    render,
)
from tests.support.helm import run_helm

DEPLOYMENTS = {
    "istio-pilot": {"istio": "pilot"},
    "istio-policy": {"istio": "mixer", "istio-mixer-type": "policy"},
    "istio-statsd-prom-bridge": {"istio": "statsd-prom-bridge"},
}
MAPPING = "statsd.mapping.mappings[0].match=a.*,statsd.mapping.mappings[0].name=a"
NO_POLICY = "policy.enabled=false"


def pod_of(objects: list[Object], deployment: str) -> Object:
    return one(objects, "Deployment", deployment)["spec"]["template"]


def container_of(objects: list[Object], deployment: str) -> Object:
    (container,) = pod_of(objects, deployment)["spec"]["containers"]
    return container


def ports_of(service: Object) -> set[tuple[int, str]]:
    return {(port["port"], port.get("protocol", "TCP")) for port in service["spec"]["ports"]}


@pytest.mark.parametrize(("name", "labels"), DEPLOYMENTS.items())
def test_pods_have_the_labels_that_the_guide_selects_on(name: str, labels: dict[str, str]) -> None:
    objects = render(CONTROL_PLANE)
    deployment = one(objects, "Deployment", name)
    found = pod_of(objects, name)["metadata"]["labels"]
    app = {"app": "istiod", "istio.io/rev": "default"} if name == "istio-pilot" else {"app": name}
    assert found == {**app, **labels}, "istioctl looks for app=istiod"
    assert deployment["spec"]["selector"]["matchLabels"].items() <= found.items()
    assert one(objects, "Service", name)["spec"]["selector"].items() <= found.items()
    assert (
        one(objects, "PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"].items() <= found.items()
    )


def test_services_have_istios_ports() -> None:
    objects = render(CONTROL_PLANE)
    pilot = ports_of(one(objects, "Service", "istio-pilot"))
    assert pilot == {(port, "TCP") for port in (8080, 15010, 15011, 15012, 15014)}
    assert ports_of(one(objects, "Service", "istio-policy")) == {(9091, "TCP"), (15004, "TCP"), (9093, "TCP")}
    bridge = one(objects, "Service", "istio-statsd-prom-bridge")
    assert ports_of(bridge) == {(9102, "TCP"), (9125, "UDP"), (9125, "TCP")}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_services_lead_to_ports_that_the_containers_declare(name: str) -> None:
    objects = render(CONTROL_PLANE)
    container = container_of(objects, name)
    declared = {(port["containerPort"], port.get("protocol", "TCP")) for port in container["ports"]}
    assert ports_of(one(objects, "Service", name)) == declared
    named = {port["name"] for port in container["ports"]}
    assert container["readinessProbe"]["httpGet"]["path"] in ("/ready", "/-/ready")
    assert {container[probe]["httpGet"]["port"] for probe in ("readinessProbe", "livenessProbe")} <= named


def test_services_have_the_same_ports_in_both_charts() -> None:
    here, there = render(CONTROL_PLANE), render(REMOTE)
    for name in DEPLOYMENTS:
        local, remote = (one(objects, "Service", name)["spec"]["ports"] for objects in (here, there))
        assert [{key: port[key] for key in port if key != "targetPort"} for port in local] == remote


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_pods_meet_the_restricted_security_standard(name: str) -> None:
    objects = render(CONTROL_PLANE)
    pod = pod_of(objects, name)["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    container = container_of(objects, name)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert pod["serviceAccountName"] in names(objects, "ServiceAccount")


def test_older_kubernetes_is_not_given_a_seccomp_profile() -> None:
    for nothing in ("seccompProfile=null", "seccompProfile.type="):
        pod = pod_of(render(CONTROL_PLANE, f"global.podSecurityContext.{nothing}"), "istio-pilot")["spec"]
        assert set(pod["securityContext"]) == {"runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup"}


def test_only_those_that_read_the_api_server_get_a_token_for_it() -> None:
    objects = render(CONTROL_PLANE)
    mounted = {
        name
        for name in DEPLOYMENTS
        if pod_of(objects, name)["spec"].get("automountServiceAccountToken", True)
    }
    assert mounted == {"istio-pilot", "istio-policy"}


def test_pilot_runs_the_command_as_its_command_line_has_it() -> None:
    container = container_of(render(CONTROL_PLANE, "global.multiCluster.clusterName=west"), "istio-pilot")
    assert container["image"] == "isthmus/pilot:0.1.0"
    assert container["command"] == ["isthmus", "pilot"]
    assert container["command"][1] in COMMANDS
    assert container["args"] == ["--log-level=info"]
    assert {"name": "CLUSTER_ID", "value": "west"} in container["env"]
    assert {"name": "mesh", "mountPath": "/etc/istio/config", "readOnly": True} in container["volumeMounts"]


@pytest.mark.parametrize(
    ("name", "command"), [("istio-pilot", pilot), ("istio-statsd-prom-bridge", statsd_bridge)]
)
def test_arguments_are_options_of_the_command(name: str, command: Callable[..., None]) -> None:
    container = container_of(render(CONTROL_PLANE, MAPPING), name)
    options = {argument.removeprefix("--").partition("=")[0] for argument in container["args"]}
    assert {option.replace("-", "_") for option in options} <= signature(command).parameters.keys()
    assert container["command"][1].replace("-", "_") == command.__name__


def test_mapping_of_statistics_is_mounted_where_the_bridge_is_told() -> None:
    objects = render(CONTROL_PLANE, MAPPING)
    assert "istio-statsd-prom-bridge" not in names(render(CONTROL_PLANE), "ConfigMap")
    mapping = one(objects, "ConfigMap", "istio-statsd-prom-bridge")["data"]["mapping.yaml"]
    assert yaml.safe_load(mapping) == {"mappings": [{"match": "a.*", "name": "a"}]}
    container = container_of(objects, "istio-statsd-prom-bridge")
    assert "--mapping-config=/etc/statsd/mapping.yaml" in container["args"]
    assert {"name": "mapping", "mountPath": "/etc/statsd", "readOnly": True} in container["volumeMounts"]


def test_pods_are_placed_and_sized_by_values() -> None:
    objects = render(
        CONTROL_PLANE,
        "pilot.replicaCount=3",
        "pilot.resources.limits.cpu=2",
        "pilot.nodeSelector.disk=fast",
        "pilot.tolerations[0].operator=Exists",
        "pilot.affinity.nodeAffinity.a=b",
        "pilot.podAnnotations.team=mesh",
        "pilot.args={--http-address=:8081}",
        "pilot.env.GRPC_VERBOSITY=debug",
        "global.priorityClassName=system-cluster-critical",
        "global.imagePullSecrets={registry}",
        "global.hub=example.com/mesh",
        "global.tag=2",
    )
    assert one(objects, "Deployment", "istio-pilot")["spec"]["replicas"] == 3
    template, container = pod_of(objects, "istio-pilot"), container_of(objects, "istio-pilot")
    pod = template["spec"]
    assert template["metadata"]["annotations"]["team"] == "mesh"
    assert container["resources"]["limits"] == {"cpu": 2}
    assert container["image"] == "example.com/mesh/pilot:2"
    assert container["args"][-1] == "--http-address=:8081"
    assert {"name": "GRPC_VERBOSITY", "value": "debug"} in container["env"]
    assert pod["nodeSelector"] == {"disk": "fast"}
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["affinity"] == {"nodeAffinity": {"a": "b"}}
    assert pod["priorityClassName"] == "system-cluster-critical"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]


def test_parts_are_left_out_by_value() -> None:
    assert names(render(CONTROL_PLANE, NO_POLICY), "Deployment") == {
        "istio-pilot",
        "istio-statsd-prom-bridge",
    }
    bare = render(CONTROL_PLANE, NO_POLICY, "statsd.enabled=false", "pilot.podDisruptionBudget.enabled=false")
    assert names(bare, "Deployment") == names(bare, "Service") == {"istio-pilot"}
    assert names(bare, "PodDisruptionBudget") == set()


@pytest.mark.parametrize("chart", [CONTROL_PLANE, REMOTE], ids=lambda chart: chart.name)
def test_every_namespaced_object_says_the_releases_namespace(chart: Any) -> None:
    for item in render(chart, namespace="mesh"):
        found = item["metadata"].get("namespace")
        assert found == (None if item["kind"] in CLUSTER_WIDE else "mesh"), item["metadata"]["name"]
        for subject in item.get("subjects", []):
            assert subject["namespace"] == "mesh"


@pytest.mark.parametrize("chart", [CONTROL_PLANE, REMOTE], ids=lambda chart: chart.name)
def test_two_namespaces_of_one_cluster_share_no_object(chart: Any) -> None:
    first, second = (
        {
            (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
            for item in render(chart, namespace=namespace)
        }
        for namespace in ("first", "second")
    )
    assert not first & second


def test_pilot_may_read_the_mesh_keep_its_own_secrets_and_give_out_roots_and_nothing_else() -> None:
    objects = render(CONTROL_PLANE, NO_POLICY)
    (cluster_role,) = (item for item in objects if item["kind"] == "ClusterRole")
    (role,) = (item for item in objects if item["kind"] == "Role")
    *reading, telling, tokens, access, roots, new_roots = cluster_role["rules"]
    assert (telling["resources"], telling["verbs"]) == (["peerauthentications/status"], ["patch"])
    mesh = {"services", "endpoints", "endpointslices", "pods", "nodes", "namespaces"}
    assert {name for rule in reading for name in rule["resources"]} == mesh | {
        definition.plural for definition in DEFINITIONS
    }
    for rule in reading:
        assert rule["verbs"] == ["get", "list", "watch"]
    for rule, reviews in ((tokens, "tokenreviews"), (access, "subjectaccessreviews")):
        assert (rule["resources"], rule["verbs"]) == ([reviews], ["create"])
    assert roots["resources"] == new_roots["resources"] == ["configmaps"]
    assert roots["resourceNames"] == ["istio-ca-root-cert"]
    assert (roots["verbs"], new_roots["verbs"]) == (["get", "list", "watch", "patch"], ["create"])
    secrets, key, events, states, *renewal = role["rules"]
    assert secrets["resources"] == key["resources"] == ["secrets"]
    assert (secrets["verbs"], key["verbs"]) == (["get", "list", "watch", "create"], ["patch"])
    assert key["resourceNames"] == ["istio-ca-secret"]
    assert (events["resources"], events["verbs"]) == (["events"], ["create", "patch"])
    assert states["resources"] == ["configmaps"]
    assert states["verbs"] == ["get", "list", "create", "patch", "delete"]
    assert [(*rule["resources"], *rule["verbs"]) for rule in renewal] == [
        ("leases", "create"),
        ("leases", "get", "patch"),
    ]
    assert renewal[1]["resourceNames"] == [LEASE]
    without = one(render(CONTROL_PLANE, "pilot.renewTokens=false"), "Role", "istio-pilot")
    assert without["rules"] == [secrets, key, events, states]
    for binding in (item for item in objects if item["kind"].endswith("RoleBinding")):
        assert [subject["name"] for subject in binding["subjects"]] == ["istio-pilot-service-account"]


def test_policy_may_read_policies_and_say_what_became_of_them_and_nothing_else() -> None:
    objects = render(CONTROL_PLANE, namespace="mesh")
    reading, telling = one(objects, "ClusterRole", "istio-policy-mesh")["rules"]
    assert (reading["resources"], reading["verbs"]) == (["policies"], ["get", "list", "watch"])
    assert (telling["resources"], telling["verbs"]) == (["policies/status"], ["patch"])
    (subject,) = one(objects, "ClusterRoleBinding", "istio-policy-mesh")["subjects"]
    assert subject["name"] == ACCOUNT


def test_policy_is_who_the_control_plane_gives_its_pods_to_and_shares_its_quotas_by_redis() -> None:
    settings = ("policy.redisUrl=redis://redis:6379", "global.multiCluster.clusterName=west")
    objects = render(CONTROL_PLANE, *settings)
    pod = pod_of(objects, "istio-policy")["spec"]
    assert pod["serviceAccountName"] == ACCOUNT
    container = container_of(objects, "istio-policy")
    told = {one["name"]: one.get("value") for one in container["env"]}
    assert (told["CLUSTER_ID"], told["REDIS_URL"]) == ("west", "redis://redis:6379")
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    (source,) = volumes[mounted[str(TOKEN.parent)]]["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == "istio-ca"
    assert source["serviceAccountToken"]["path"] == TOKEN.name
    assert volumes[mounted[str(ROOTS.parent)]]["configMap"]["name"] == "istio-ca-root-cert"
    secret = render(CONTROL_PLANE, "policy.redisSecret=redis")
    (url,) = (each for each in container_of(secret, "istio-policy")["env"] if each["name"] == "REDIS_URL")
    assert url["valueFrom"]["secretKeyRef"] == {"name": "redis", "key": "url"}
    for user in ("", "quotas"):
        said = refusal(CONTROL_PLANE, f"policy.redisUrl=rediss://{user}:sesame@redis:6379/0")
        assert "name that in policy.redisSecret" in said
        assert "sesame" not in said


def test_proxies_ask_for_policy_only_where_there_is_a_policy_server() -> None:
    for settings, disabled in (
        ((NO_POLICY,), True),
        ((), False),
        (("meshConfig.disablePolicyChecks=true",), True),
    ):
        text = one(render(CONTROL_PLANE, *settings), "ConfigMap", "istio")["data"]["mesh"]
        assert read_mesh_config(text).disable_policy_checks is disabled


@pytest.mark.parametrize("chart", [CONTROL_PLANE, REMOTE], ids=lambda chart: chart.name)
def test_mesh_config_is_what_its_reader_reads(chart: Any) -> None:
    settings = (
        "meshConfig.trustDomain=example.org",
        "meshConfig.outboundTrafficPolicy.mode=REGISTRY_ONLY",
        "meshConfig.defaultConfig.concurrency=4",
        "meshConfig.meshNetworks.first.endpoints[0].fromRegistry=west",
    )
    objects = render(chart, *settings, namespace="mesh")
    config = read_mesh_config(one(objects, "ConfigMap", "istio")["data"]["mesh"])
    assert config.root_namespace == "mesh"
    assert config.trust_domain == "example.org"
    assert config.outbound_traffic_policy.mode.value == "REGISTRY_ONLY"
    assert config.default_config.discovery_address == "istio-pilot.mesh.svc:15012"
    assert config.default_config.concurrency == 4
    assert config.networks == {"west": "first"}


def test_mesh_config_of_the_operator_wins() -> None:
    settings = ("meshConfig.rootNamespace=root", "meshConfig.defaultConfig.discoveryAddress=10.0.0.1:15010")
    text = one(render(CONTROL_PLANE, *settings), "ConfigMap", "istio")["data"]["mesh"]
    config = read_mesh_config(text)
    assert (config.root_namespace, config.default_config.discovery_address) == ("root", "10.0.0.1:15010")


def test_pilot_is_rolled_when_its_mesh_config_changes() -> None:
    sums = {
        pod_of(render(CONTROL_PLANE, setting), "istio-pilot")["metadata"]["annotations"]["checksum/mesh"]
        for setting in ("meshConfig.trustDomain=a", "meshConfig.trustDomain=b", "pilot.replicaCount=2")
    }
    assert len(sums) == 3


def test_injection_is_told_the_same_in_both_charts() -> None:
    settings = ("global.multiCluster.clusterName=west", "global.proxy.excludeOutboundPorts=9000")
    here, there = (
        json.loads(one(render(chart, *settings), "ConfigMap", "istio-sidecar-injector")["data"]["values"])
        for chart in (CONTROL_PLANE, REMOTE)
    )
    assert here == there
    assert here["global"]["multiCluster"] == {"clusterName": "west"}
    assert here["global"]["proxy"]["excludeOutboundPorts"] == 9000
    proxy = proxy_container("image", proxy_config={}, metadata={})
    assert here["global"]["proxy"]["resources"] == proxy["resources"]
    shared = [(chart / "templates/_mesh.tpl").read_bytes() for chart in (CONTROL_PLANE, REMOTE)]
    assert shared[0] == shared[1]


def test_api_versions_are_current_unless_a_value_says_otherwise() -> None:
    current = {(item["kind"], item["apiVersion"]) for item in render(CONTROL_PLANE)}
    assert {("PodDisruptionBudget", "policy/v1"), ("Deployment", "apps/v1")} <= current
    older = render(
        CONTROL_PLANE,
        "global.apiVersions.policy=policy/v1beta1",
        "global.apiVersions.apps=apps/v1beta2",
        "global.apiVersions.rbac=rbac.authorization.k8s.io/v1beta1",
    )
    assert {item["apiVersion"] for item in older} == {
        "v1",
        "policy/v1beta1",
        "apps/v1beta2",
        "rbac.authorization.k8s.io/v1beta1",
    }


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        ("pilot.replicas=2", "/pilot"),
        ("pilot.replicaCount=two", "/pilot/replicaCount"),
        ("policy.enabled=maybe", "/policy/enabled"),
        ("global.imagePullPolicy=Sometimes", "/global/imagePullPolicy"),
        ("pilot=null", "pilot"),
        ("meshConfig.connectTimeout=10", "/meshConfig/connectTimeout"),
        ("meshConfig.outboundTrafficPolicy.mode=ALLOW", "/meshConfig/outboundTrafficPolicy/mode"),
        ("meshConfig.defaultConfig.concurrency=-1", "/meshConfig/defaultConfig/concurrency"),
        ("meshConfig.meshNetworks.n.endpoints[0].fromCidr=x", "/meshConfig/meshNetworks/n/endpoints/0"),
    ],
)
def test_mistaken_values_are_refused_by_their_path(setting: str, path: str) -> None:
    assert path in refusal(CONTROL_PLANE, setting)


@pytest.mark.parametrize("chart", [CONTROL_PLANE, REMOTE], ids=lambda chart: chart.name)
@pytest.mark.parametrize(
    ("setting", "way"),
    [
        ("sidecarInjectorWebhook.enabled=true", "run isthmus inject"),
        ("ingress.enabled=true", "install it by its own chart"),
        ("mixer.enabled=false", "set policy.enabled and statsd.enabled"),
        ("security.enabled=false", "pilot is always the mesh's certificate authority"),
        ("global.enableTracing=true", "sidecars trace nothing"),
        ("global.disablePolicyChecks=true", "set meshConfig.disablePolicyChecks"),
        ("global.remotePilotAddress=10.1.0.5", "set global.pilotEndpoint"),
        ("global.proxy.autoInject=enabled", "run isthmus inject"),
        ("global.proxy.accessLogFile=/dev/stdout", "set meshConfig.accessLogFile"),
        ("global.proxy.envoyStatsd.enabled=false", "set meshConfig.defaultConfig.statsdUdpAddress"),
    ],
)
def test_istios_values_that_have_no_effect_are_refused_with_the_way(
    chart: Any, setting: str, way: str
) -> None:
    said = refusal(chart, setting)
    assert setting.partition("=")[0].removesuffix(".enabled") in said
    assert way in said


@pytest.mark.parametrize("chart", [CONTROL_PLANE, REMOTE], ids=lambda chart: chart.name)
def test_what_istios_values_switch_off_is_off_here_anyway(chart: Any) -> None:
    off = ("sidecarInjectorWebhook", "ingress", "gateways", "prometheus", "global.mtls")
    others = ("global.enableTracing=false", "security.enabled=true")
    assert render(chart, *(f"{part}.enabled=false" for part in off), *others) == render(chart)
    shared = [(chart / "templates/_habits.tpl").read_bytes() for chart in (CONTROL_PLANE, REMOTE)]
    assert shared[0] == shared[1]


def test_mutual_tls_of_the_whole_mesh_is_a_value_of_the_control_plane() -> None:
    assert names(render(CONTROL_PLANE), "PeerAuthentication") == set()
    settings = ("global.mtls.enabled=true", "meshConfig.rootNamespace=root")
    whole = one(render(CONTROL_PLANE, *settings), "PeerAuthentication", "default")
    assert whole["metadata"]["namespace"] == "root"
    assert whole["spec"] == {"mtls": {"mode": "STRICT"}}
    assert "set it in its chart" in refusal(REMOTE, "global.mtls.enabled=true")


@pytest.mark.parametrize("major", [3, 4])
def test_numbers_of_a_values_file_stay_as_they_are_written(major: int, tmp_path: Path) -> None:
    """Helm reads them as floats, whose own text has an exponent from seven digits on."""
    file = tmp_path / "values.yaml"
    command = ["template", "istio", str(CONTROL_PLANE), "--values", str(file)]
    file.write_text(
        "global: {tag: 20261123, multiCluster: {clusterName: 7654321}}\n"
        "pilot: {args: [1234567], env: {SOME: 2345678, FLAG: true}}\n"
    )
    done = run_helm(command, major=major)
    assert done.returncode == 0, done.stderr
    container = container_of(parse(done.stdout), "istio-pilot")
    assert container["image"] == "isthmus/pilot:20261123"
    assert container["args"][-1] == "1234567"
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment | {"CLUSTER_ID": "7654321", "SOME": "2345678", "FLAG": "true"} == environment
    file.write_text("global: {tag: 1.10}\n")
    assert "at '/global/tag': got number, want integer or string" in run_helm(command, major=major).stderr


def test_values_file_and_schema_name_the_same_fields() -> None:
    for chart in (CONTROL_PLANE, REMOTE):
        values = yaml.safe_load((chart / "values.yaml").read_text())
        schema = json.loads((chart / "values.schema.json").read_text())
        _compare(values, schema, chart.name)
        renew = "run: python -m isthmus.config.chart_schemas install/kubernetes/helm/*/values.schema.json"
        assert schema["properties"]["meshConfig"] == mesh_schema(), renew


def _compare(values: Object, schema: Object, path: str) -> None:
    if schema.get("additionalProperties") is False:
        assert set(values) == set(schema["properties"]), path
        for name, inner in schema["properties"].items():
            if inner.get("type") == "object":
                _compare(values[name], inner, f"{path}.{name}")
