"""StatefulSets, DaemonSets and CronJobs, as the API server completes and refuses them."""

from typing import Any

import pytest

from tests.lab.api_contract.api import MERGE_PATCH, Api, deployment

pytestmark = pytest.mark.asyncio(loop_scope="session")
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


async def _apps(api: Api) -> str:
    return (await api.namespace()).replace("/api/v1", "/apis/apps/v1")


def _cron_job(**spec: Any) -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "example/task"}]}
    template = {"spec": {"template": {"spec": pod}}}
    return {"metadata": {"name": "sum"}, "spec": {"schedule": "@daily", "jobTemplate": template, **spec}}


async def test_a_stateful_set_is_completed_scaled_and_keeps_who_its_pods_are(api: Api) -> None:
    path = f"{await _apps(api)}/statefulsets"
    made = (await api.call("POST", path, deployment("db", serviceName="db"), fieldValidation="Strict")).body
    spec = made["spec"]
    assert (spec["replicas"], spec["podManagementPolicy"]) == (1, "OrderedReady")
    assert spec["updateStrategy"]["type"] == "RollingUpdate"
    assert spec["updateStrategy"]["rollingUpdate"]["partition"] == 0
    scale = await api.call("PATCH", f"{path}/db/scale", {"spec": {"replicas": 3}}, content_type=MERGE_PATCH)
    assert scale.body["spec"]["replicas"] == 3
    refused = await api.call("PATCH", f"{path}/db", {"spec": {"serviceName": "x"}}, content_type=MERGE_PATCH)
    assert refused.status == 422
    assert "updates to statefulset spec for fields other than 'replicas'" in refused.message
    table = (await api.call("GET", path, headers=TABLE)).body
    titles = [one["name"] for one in table["columnDefinitions"] if not one["priority"]]
    assert titles == ["Name", "Ready", "Age"]


async def test_a_daemon_set_is_completed(api: Api) -> None:
    path = f"{await _apps(api)}/daemonsets"
    made = (await api.call("POST", path, deployment("agent"), fieldValidation="Strict")).body
    rolling = {"maxUnavailable": 1, "maxSurge": 0}
    assert made["spec"]["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}
    table = (await api.call("GET", path, headers=TABLE)).body
    titles = [one["name"] for one in table["columnDefinitions"] if not one["priority"]]
    assert titles == [
        "Name", "Desired", "Current", "Ready", "Up-to-date", "Available", "Node Selector", "Age",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("statefulsets", {"podManagementPolicy": "Any"}, "spec.podManagementPolicy"),
        ("statefulsets", {"replicas": -1}, "spec.replicas"),
        ("statefulsets", {"updateStrategy": {"type": "Any"}}, "spec.updateStrategy"),
        ("daemonsets", {"selector": {"matchLabels": {"app": "other"}}}, "spec.template.metadata.labels"),
        ("daemonsets", {"updateStrategy": {"type": "Any"}}, "spec.updateStrategy"),
    ],
)
async def test_sets_that_break_a_rule_are_refused_by_field(
    api: Api, kind: str, spec: dict[str, Any], field: str
) -> None:
    refused = await api.call("POST", f"{await _apps(api)}/{kind}", deployment("x", **spec))
    assert (refused.status, refused.reason) == (422, "Invalid")
    assert field in refused.message


async def test_a_cron_job_is_completed_and_refused_by_field(api: Api) -> None:
    path = (await api.namespace()).replace("/api/v1", "/apis/batch/v1") + "/cronjobs"
    spec = (await api.call("POST", path, _cron_job(), fieldValidation="Strict")).body["spec"]
    assert (spec["concurrencyPolicy"], spec["suspend"]) == ("Allow", False)
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (3, 1)
    for wrong, field in (
        ({"schedule": "61 * * * *"}, "spec.schedule"),
        ({"timeZone": "Mars/Olympus"}, "spec.timeZone"),
        ({"concurrencyPolicy": "Any"}, "spec.concurrencyPolicy"),
    ):
        refused = await api.call("POST", path, _cron_job(**wrong))
        assert (refused.status, field in refused.message) == (422, True), refused.message
    table = (await api.call("GET", path, headers=TABLE)).body
    assert table["rows"][0]["cells"][:5] == ["sum", "@daily", "<none>", "False", 0]
