"""The rules of single kinds: Pods, Services, Deployments."""

import pytest

from tests.lab.api_contract.api import MERGE_PATCH, STRATEGIC_PATCH, Api, deployment, pod, service

pytestmark = pytest.mark.asyncio(loop_scope="session")


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
    assert "is not in the valid range" in outside.message
    empty = await api.call("POST", f"{namespace}/services", service("d", ports=[]))
    assert empty.message == 'Service "d" is invalid: spec.ports: Required value'
    assert empty.body["details"]["causes"] == [
        {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.ports"}
    ]


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
