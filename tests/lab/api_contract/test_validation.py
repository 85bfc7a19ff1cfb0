"""What an object of a kind may hold, told field by field, and how quantities come back."""

from typing import Any

import pytest

from tests.lab.api_contract.api import (
    JSON_PATCH,
    MERGE_PATCH,
    Answer,
    Api,
    config_map,
    deployment,
    pod,
    service,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


def causes(answer: Answer) -> set[tuple[str, str]]:
    return {(one["field"], one["message"]) for one in answer.body["details"]["causes"]}


async def test_quantities_come_back_in_their_canonical_form(api: Api) -> None:
    namespace = await api.namespace()
    limits = {"cpu": 0.5, "memory": "1024Mi", "example.com/widgets": "2000"}
    container = {"name": "main", "image": "example/app", "resources": {"limits": limits}}
    made = (await api.call("POST", f"{namespace}/pods", pod("one", containers=[container]))).body
    resources = made["spec"]["containers"][0]["resources"]
    assert resources["limits"] == {"cpu": "500m", "memory": "1Gi", "example.com/widgets": "2k"}
    assert resources["requests"] == resources["limits"]


async def test_faults_of_containers_and_volumes_are_all_named(api: Api) -> None:
    namespace = await api.namespace()
    container: dict[str, Any] = {
        "name": "main",
        "image": " example/app",
        "resources": {"requests": {"cpu": "2", "shoes": "1"}, "limits": {"cpu": "1", "memory": "-1"}},
        "livenessProbe": {"successThreshold": 2},
        "readinessProbe": {"exec": {}, "tcpSocket": {"port": 1}, "periodSeconds": -1},
        "env": [{"name": "A=B"}],
        "ports": [{"containerPort": 80, "name": "a--b"}, {"containerPort": 70000, "name": "1"}],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "w", "mountPath": "/v"}],
    }
    volumes = [{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}]
    refused = await api.call("POST", f"{namespace}/pods", pod("one", containers=[container], volumes=volumes))
    assert refused.status == 422, refused.body
    at, told = "spec.containers[0]", causes(refused)
    for field, message in (
        ("spec.volumes[0].secret", "Forbidden: may not specify more than 1 volume type"),
        (f"{at}.image", 'Invalid value: " example/app": must not have leading or trailing whitespace'),
        (f"{at}.livenessProbe", "Required value: must specify a handler type"),
        (f"{at}.livenessProbe.successThreshold", "Invalid value: 2: must be 1"),
        (f"{at}.readinessProbe.tcpSocket", "Forbidden: may not specify more than 1 handler type"),
        (f"{at}.readinessProbe.exec.command", "Required value"),
        (f"{at}.readinessProbe.periodSeconds", "Invalid value: -1: must be greater than or equal to 0"),
        (f"{at}.ports[0].name", 'Invalid value: "a--b": must not contain consecutive hyphens'),
        (f"{at}.ports[1].name", 'Invalid value: "1": must contain at least one letter (a-z)'),
        (f"{at}.ports[1].containerPort", "Invalid value: 70000: must be between 1 and 65535, inclusive"),
        (f"{at}.volumeMounts[1].name", 'Not found: "w"'),
        (f"{at}.volumeMounts[1].mountPath", 'Invalid value: "/v": must be unique'),
        (f"{at}.resources.requests", 'Invalid value: "2": must be less than or equal to cpu limit of 1'),
        (f"{at}.resources.limits[memory]", 'Invalid value: "-1": must be greater than or equal to 0'),
        (
            f"{at}.resources.requests[shoes]",
            'Invalid value: "shoes": must be a standard resource for containers',
        ),
    ):
        assert (field, message) in told, (field, message, told)
    assert any(field == f"{at}.env[0].name" and "other than '='" in message for field, message in told)


@pytest.mark.parametrize(
    ("selector", "sentence"),
    [
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a,", "found '', expected: identifier after ','"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a<x", "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators"),
        ("-a", 'unable to parse requirement: <nil>: Invalid value: "-a": name part must consist of'),
        ("a=-b", 'unable to parse requirement: values[0][a]: Invalid value: "-b": a valid label must be an'),
    ],
)
async def test_selectors_that_cannot_be_read_say_where(api: Api, selector: str, sentence: str) -> None:
    refused = await api.call("GET", "/api/v1/configmaps", labelSelector=selector)
    assert (refused.status, refused.reason) == (400, "BadRequest")
    assert refused.message.startswith(sentence), refused.message


async def test_a_patch_that_does_not_apply_and_a_field_selector_that_is_none(api: Api) -> None:
    namespace = await api.namespace()
    await api.call("POST", f"{namespace}/configmaps", config_map("one", a="b"))
    for operation in ({"op": "test", "path": "/data/a", "value": "c"}, {"op": "remove", "path": "/data/z"}):
        refused = await api.call("PATCH", f"{namespace}/configmaps/one", [operation], content_type=JSON_PATCH)
        assert (refused.status, refused.reason, refused.body["details"]) == (422, "Invalid", {})
        assert refused.message == "the server rejected our request due to an error in our request"
    refused = await api.call("GET", f"{namespace}/configmaps", fieldSelector="metadata.name")
    text = "invalid selector: 'metadata.name'; can't understand 'metadata.name'"
    assert (refused.status, refused.message) == (400, text)


async def test_what_is_deleted_at_once_is_shown_as_it_was(api: Api) -> None:
    namespace = await api.namespace()
    made = (await api.call("POST", f"{namespace}/services", service("web"))).body
    assert (await api.call("DELETE", f"{namespace}/services/web")).body["metadata"] == made["metadata"]
    await api.call("POST", f"{namespace}/pods", pod("web"))
    gone = (await api.call("DELETE", f"{namespace}/pods/web")).body["metadata"]
    assert gone["deletionGracePeriodSeconds"] == 0
    assert (await api.call("GET", f"{namespace}/pods/web")).status == 404


async def test_workloads_say_which_selector_or_policy_is_wrong(api: Api) -> None:
    namespace = await api.namespace()
    apps, batch = (namespace.replace("/api/v1", f"/apis/{group}/v1") for group in ("apps", "batch"))
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "example/app"}]},
    }
    for plural, what in (("daemonsets", "daemonset"), ("statefulsets", "statefulset")):
        body = {"metadata": {"name": "x"}, "spec": {"selector": {}, "template": template}}
        refused = await api.call("POST", f"{apps}/{plural}", body)
        text = f"Invalid value: {{}}: empty selector is invalid for {what}"
        assert causes(refused) == {("spec.selector", text)}
    unselected = {"metadata": {"name": "x"}, "spec": {"template": {"spec": template["spec"]}}}
    refused = await api.call("POST", f"{apps}/deployments", unselected)
    unmatched = "Invalid value: null: `selector` does not match template `labels`"
    assert causes(refused) == {
        ("spec.selector", "Required value"),
        ("spec.template.metadata.labels", unmatched),
    }
    job = {"spec": {"template": template}}
    refused = await api.call(
        "POST", f"{batch}/cronjobs", {"metadata": {"name": "x"}, "spec": {"schedule": "bad"}}
    )
    assert ("spec.schedule", 'Invalid value: "bad": expected exactly 5 fields, found 1: [bad]') in causes(
        refused
    )
    body = {"metadata": {"name": "x"}, "spec": {"schedule": "* * * * *", "jobTemplate": job}}
    refused = await api.call("POST", f"{batch}/cronjobs", body)
    at = "spec.jobTemplate.spec.template.spec.restartPolicy"
    assert causes(refused) == {(at, 'Required value: valid values: "OnFailure", "Never"')}


async def test_bindings_and_evictions_name_their_pod(api: Api) -> None:
    namespace = await api.namespace()
    await api.call("POST", f"{namespace}/pods", pod("one"))
    for kind, version in (("Binding", "v1"), ("Eviction", "policy/v1")):
        body = {"kind": kind, "apiVersion": version, "metadata": {"name": "two"}, "target": {"name": "n"}}
        refused = await api.call("POST", f"{namespace}/pods/one/{kind.lower()}", body)
        text = f"name in URL does not match name in {kind} object"
        assert (refused.status, refused.message) == (400, text)
    body = {"metadata": {"name": "one"}, "target": {"kind": "Pod"}}
    refused = await api.call("POST", f"{namespace}/pods/one/binding", body)
    text = (
        '[target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>", target.name: Required'
    )
    assert (refused.status, refused.message) == (500, f"{text} value]")
    body["target"] = {"kind": "Node", "name": "n"}
    assert (await api.call("POST", f"{namespace}/pods/one/binding", body)).status == 201


async def test_a_user_is_told_by_which_certificate_they_came(api: Api) -> None:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    user = (await api.call("POST", path, {})).body["status"]["userInfo"]
    (credential,) = user["extra"]["authentication.kubernetes.io/credential-id"]
    assert (credential[:11], len(credential)) == ("X509SHA256=", 75)
    ann = (await api.call("POST", path, {}, headers={"Impersonate-User": "ann"})).body["status"]["userInfo"]
    assert ann == {"username": "ann", "groups": ["system:authenticated"]}


async def test_what_a_service_needs_no_longer_goes_with_its_type(api: Api) -> None:
    namespace = await api.namespace()
    exposed = service("web", type="LoadBalancer", externalTrafficPolicy="Local")
    made = (await api.call("POST", f"{namespace}/services", exposed)).body["spec"]
    assert made["ports"][0]["nodePort"] >= 30000
    path = f"{namespace}/services/web"
    hidden = await api.call("PATCH", path, {"spec": {"type": "ClusterIP"}}, content_type=MERGE_PATCH)
    spec = hidden.body["spec"]
    assert {"externalTrafficPolicy", "allocateLoadBalancerNodePorts"}.isdisjoint(spec)
    assert ("nodePort" in spec["ports"][0], spec["clusterIP"]) == (False, made["clusterIP"])
    named = await api.call(
        "PATCH",
        path,
        {"spec": {"type": "ExternalName", "externalName": "x.example"}},
        content_type=MERGE_PATCH,
    )
    assert "clusterIP" not in named.body["spec"]


async def test_faults_of_services_deployments_and_secrets_are_named(api: Api) -> None:
    namespace = await api.namespace()
    port = {"port": 80, "nodePort": 30500, "targetPort": "A_B", "appProtocol": "a b"}
    odd = service("web", ports=[port], externalTrafficPolicy="Local", externalIPs=[])
    told = causes(await api.call("POST", f"{namespace}/services", odd))
    assert ("spec.ports[0].nodePort", "Forbidden: may not be used when `type` is 'ClusterIP'") in told
    text = 'Invalid value: "Local": may only be set for externally-accessible services'
    assert ("spec.externalTrafficPolicy", text) in told
    assert {"spec.ports[0].targetPort", "spec.ports[0].appProtocol"} <= {field for field, _ in told}
    still = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}
    halting = deployment("web", strategy=still, progressDeadlineSeconds=5, minReadySeconds=5)
    apps = namespace.replace("/api/v1", "/apis/apps/v1")
    assert causes(await api.call("POST", f"{apps}/deployments", halting)) == {
        (
            "spec.strategy.rollingUpdate.maxUnavailable",
            "Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        ("spec.progressDeadlineSeconds", "Invalid value: 5: must be greater than minReadySeconds"),
    }
    nobody = {"metadata": {"name": "x"}, "type": "kubernetes.io/basic-auth"}
    told = causes(await api.call("POST", f"{namespace}/secrets", nobody))
    assert told == {("data[username]", "Required value"), ("data[password]", "Required value")}
    placed = pod("one", dnsPolicy="None", hostname="A_", nodeSelector={"a": "-"}, activeDeadlineSeconds=0)
    fields = {field for field, _ in causes(await api.call("POST", f"{namespace}/pods", placed))}
    assert fields == {
        "spec.dnsConfig.nameservers",
        "spec.hostname",
        "spec.nodeSelector",
        "spec.activeDeadlineSeconds",
    }
