"""The rules of single kinds: Pods, Services, Deployments."""

from typing import Any

import pytest

from tests.lab.api_contract.api import MERGE_PATCH, STRATEGIC_PATCH, Answer, Api, deployment, pod, service

pytestmark = pytest.mark.asyncio(loop_scope="session")


def causes(answer: Answer) -> list[tuple[str, str]]:
    return [(one["field"], one["message"]) for one in answer.body["details"]["causes"]]


async def test_pods_get_their_account_and_its_token(api: Api) -> None:
    namespace = await api.namespace()
    spec = (await api.call("POST", f"{namespace}/pods", pod("one"))).body["spec"]
    assert spec["serviceAccountName"] == "default"
    assert (spec["restartPolicy"], spec["dnsPolicy"]) == ("Always", "ClusterFirst")
    assert spec["terminationGracePeriodSeconds"] == 30
    (mount,) = spec["containers"][0]["volumeMounts"]
    assert mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    (volume,) = spec["volumes"]
    assert volume["name"] == mount["name"]
    assert volume["name"].startswith("kube-api-access-")
    assert [next(iter(one)) for one in volume["projected"]["sources"]] == [
        "serviceAccountToken",
        "configMap",
        "downwardAPI",
    ]


async def test_values_of_the_wrong_type_are_named_by_their_field(api: Api) -> None:
    namespace = await api.namespace()
    container = {"name": "main", "image": "example/app", "ports": [{"containerPort": "80"}]}
    refused = await api.call("POST", f"{namespace}/pods", pod("one", containers=[container]))
    assert (refused.status, refused.reason) == (400, "BadRequest")
    assert "ContainerPort.spec.containers.ports.containerPort of type int32" in refused.message


async def test_a_pods_quality_of_service_is_found_out_and_stays(api: Api) -> None:
    namespace = await api.namespace()
    container = {"name": "main", "image": "example/app", "resources": {"requests": {"cpu": "10m"}}}
    made = (await api.call("POST", f"{namespace}/pods", pod("one", containers=[container]))).body
    assert made["status"]["qosClass"] == "Burstable"
    path, status = f"{namespace}/pods/one/status", {"phase": "Running", "qosClass": "BestEffort"}
    refused = await api.call("PATCH", path, {"status": status}, content_type=MERGE_PATCH)
    assert (refused.status, [field for field, _ in causes(refused)]) == (422, ["status.qosClass"])
    status["qosClass"] = ""
    kept = await api.call("PATCH", path, {"status": status}, content_type=MERGE_PATCH)
    assert kept.body["status"]["qosClass"] == "Burstable"


async def test_a_pod_of_an_unknown_account_is_forbidden(api: Api) -> None:
    namespace = await api.namespace()
    refused = await api.call("POST", f"{namespace}/pods", pod("one", serviceAccountName="nobody"))
    assert (refused.status, refused.reason) == (403, "Forbidden")
    assert "error looking up service account" in refused.message


async def test_of_a_pods_spec_only_images_may_change(api: Api) -> None:
    namespace = await api.namespace()
    await api.call("POST", f"{namespace}/pods", pod("one"))
    path = f"{namespace}/pods/one"
    image = {"spec": {"containers": [{"name": "main", "image": "example/app:2"}]}}
    assert (await api.call("PATCH", path, image, content_type=STRATEGIC_PATCH)).status == 200
    command = {"spec": {"containers": [{"name": "main", "command": ["sh"]}]}}
    refused = await api.call("PATCH", path, command, content_type=STRATEGIC_PATCH)
    assert (refused.status, refused.reason) == (422, "Invalid")
    assert "pod updates may not change fields other than" in refused.message


async def test_a_bound_pod_is_deleted_in_two_steps(api: Api) -> None:
    namespace = await api.namespace()
    await api.call("POST", f"{namespace}/pods", pod("one"))
    binding = {"metadata": {"name": "one"}, "target": {"kind": "Node", "name": "some-node"}}
    assert (await api.call("POST", f"{namespace}/pods/one/binding", binding)).status == 201
    assert (await api.call("GET", f"{namespace}/pods/one")).body["spec"]["nodeName"] == "some-node"
    assert (await api.call("POST", f"{namespace}/pods/one/binding", binding)).status == 409
    first = (await api.call("DELETE", f"{namespace}/pods/one")).body
    assert first["metadata"]["deletionGracePeriodSeconds"] == 30
    assert (await api.call("GET", f"{namespace}/pods/one")).status == 200
    await api.call("DELETE", f"{namespace}/pods/one", {"gracePeriodSeconds": 0})
    assert (await api.call("GET", f"{namespace}/pods/one")).status == 404


async def test_services_get_an_address_and_keep_it(api: Api) -> None:
    namespace = await api.namespace()
    created = (await api.call("POST", f"{namespace}/services", service("web"))).body
    spec = created["spec"]
    assert spec["clusterIP"].startswith("10.96.")
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert spec["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    path = f"{namespace}/services/web"
    moved = await api.call("PATCH", path, {"spec": {"clusterIP": "10.96.9.9"}}, content_type=MERGE_PATCH)
    assert moved.status == 422
    assert "may not change once set" in moved.message
    again = (await api.call("PUT", path, service("web", selector={"a": "b"}))).body
    assert again["spec"]["clusterIP"] == spec["clusterIP"]


async def test_services_may_be_headless_external_or_refused(api: Api) -> None:
    namespace = await api.namespace()
    headless = await api.call("POST", f"{namespace}/services", service("a", clusterIP="None", ports=[]))
    assert headless.body["spec"]["clusterIPs"] == ["None"]
    external = {"type": "ExternalName", "externalName": "example.com"}
    assert (
        "clusterIP"
        not in (await api.call("POST", f"{namespace}/services", service("b", **external))).body["spec"]
    )
    outside = await api.call("POST", f"{namespace}/services", service("c", clusterIP="192.0.2.1"))
    assert outside.status == 422
    why = "failed to allocate IP 192.0.2.1: the provided network does not match the current range"
    assert causes(outside) == [("spec.clusterIPs", f'Invalid value: ["192.0.2.1"]: {why}')]
    empty = await api.call("POST", f"{namespace}/services", service("d", ports=[]))
    assert empty.message == 'Service "d" is invalid: spec.ports: Required value'
    assert empty.body["details"]["causes"] == [
        {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.ports"}
    ]


async def test_services_say_of_which_ip_families_they_are(api: Api) -> None:
    """In a cluster that has IPv4 only (KEP-563)."""
    path = f"{await api.namespace()}/services"
    made = (await api.call("POST", path, service("single"))).body["spec"]
    assert (made["ipFamilyPolicy"], made["ipFamilies"]) == ("SingleStack", ["IPv4"])
    made = (await api.call("POST", path, service("prefer", ipFamilyPolicy="PreferDualStack"))).body["spec"]
    assert (made["ipFamilyPolicy"], made["ipFamilies"]) == ("PreferDualStack", ["IPv4"])
    own = (await api.call("POST", path, service("own", clusterIP="None"))).body["spec"]
    assert (own["ipFamilyPolicy"], own["ipFamilies"]) == ("RequireDualStack", ["IPv4", "IPv6"])
    chosen = service("chosen", clusterIP="None", selector={"a": "b"})
    made = (await api.call("POST", path, chosen)).body["spec"]
    assert (made["ipFamilyPolicy"], made["ipFamilies"]) == ("SingleStack", ["IPv4"])
    single = {"spec": {"ipFamilyPolicy": "SingleStack"}}
    less = await api.call("PATCH", f"{path}/own", single, content_type=MERGE_PATCH)
    assert (less.status, less.body["spec"]["ipFamilies"]) == (200, ["IPv4"])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"ipFamilyPolicy": "RequireDualStack"},
            [
                (
                    "spec.ipFamilyPolicy",
                    'Invalid value: "RequireDualStack": '
                    "this cluster is not configured for dual-stack services",
                )
            ],
        ),
        (
            {"ipFamilies": ["IPv6"]},
            [("spec.ipFamilies[0]", 'Invalid value: "IPv6": not configured on this cluster')],
        ),
        (
            {"ipFamilies": ["IPv4", "IPv6"]},
            [
                (
                    "spec.ipFamilyPolicy",
                    "Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack'"
                    " when multiple IP families are specified",
                )
            ],
        ),
        ({"ipFamilies": ["IPv4", "IPv4"]}, [("spec.ipFamilies[1]", 'Duplicate value: "IPv4"')]),
        (
            {"ipFamilies": ["IPv5"], "ipFamilyPolicy": "Any"},
            [
                ("spec.ipFamilies[0]", 'Unsupported value: "IPv5": supported values: "IPv4", "IPv6"'),
                (
                    "spec.ipFamilyPolicy",
                    'Unsupported value: "Any": supported values: '
                    '"PreferDualStack", "RequireDualStack", "SingleStack"',
                ),
            ],
        ),
        (
            {"clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.8"]},
            [("spec.clusterIPs", 'Invalid value: ["10.96.7.8"]: first value must match `clusterIP`')],
        ),
        (
            {"clusterIP": "fd00::1"},
            [("spec.clusterIPs[0]", 'Invalid value: ["fd00::1"]: IPv6 is not configured on this cluster')],
        ),
    ],
)
async def test_ip_families_that_cannot_be_had_are_refused(
    api: Api, spec: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    refused = await api.call("POST", f"{await api.namespace()}/services", service("web", **spec))
    assert refused.status == 422
    assert causes(refused) == expected


async def test_node_ports_stay_with_their_port_by_its_name(api: Api) -> None:
    path = f"{await api.namespace()}/services"
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    made = (await api.call("POST", path, service("web", type="NodePort", ports=ports))).body["spec"]["ports"]
    moved = [{"name": "b", "port": 90}, {"name": "a", "port": 80}]
    kept = (await api.call("PUT", f"{path}/web", service("web", type="NodePort", ports=moved))).body
    assert [one["nodePort"] for one in kept["spec"]["ports"]] == [made[1]["nodePort"], made[0]["nodePort"]]


async def test_a_deployment_must_select_its_own_pods(api: Api) -> None:
    namespace = (await api.namespace()).replace("/api/v1", "/apis/apps/v1")
    body = deployment("web", selector={"matchLabels": {"app": "other"}})
    refused = await api.call("POST", f"{namespace}/deployments", body)
    assert (refused.status, refused.reason) == (422, "Invalid")
    assert refused.message == (
        'Deployment.apps "web" is invalid: spec.template.metadata.labels: Invalid value: {"app":"web"}: '
        "`selector` does not match template `labels`"
    )


async def test_deployments_are_scaled_through_their_scale(api: Api) -> None:
    namespace = (await api.namespace()).replace("/api/v1", "/apis/apps/v1")
    created = (await api.call("POST", f"{namespace}/deployments", deployment("web"))).body
    assert created["spec"]["replicas"] == 1
    assert created["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": "25%"}
    path = f"{namespace}/deployments/web/scale"
    scale = (await api.call("GET", path)).body
    assert (scale["kind"], scale["status"]["selector"]) == ("Scale", "app=web")
    await api.call("PUT", path, {**scale, "spec": {"replicas": 4}})
    assert (await api.call("GET", f"{namespace}/deployments/web")).body["spec"]["replicas"] == 4
