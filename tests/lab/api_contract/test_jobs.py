"""Jobs, as the API server completes and refuses them."""

from typing import Any

import pytest

from tests.lab.api_contract.api import MERGE_PATCH, Api

pytestmark = pytest.mark.asyncio(loop_scope="session")


def _job(name: str, policy: str = "Never", **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "example/task"}
    template = {"spec": {"restartPolicy": policy, "containers": [container]}}
    return {"metadata": {"name": name}, "spec": {"template": template, **spec}}


async def _jobs(api: Api) -> str:
    return (await api.namespace()).replace("/api/v1", "/apis/batch/v1") + "/jobs"


async def test_job_selects_its_own_pods(api: Api) -> None:
    created = (await api.call("POST", await _jobs(api), _job("sum"))).body
    uid, spec = created["metadata"]["uid"], created["spec"]
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    labels = spec["template"]["metadata"]["labels"]
    assert labels["batch.kubernetes.io/job-name"] == labels["job-name"] == "sum"
    assert (spec["completions"], spec["parallelism"], spec["backoffLimit"]) == (1, 1, 6)
    assert (spec["completionMode"], spec["suspend"]) == ("NonIndexed", False)


async def test_pods_of_a_job_must_be_able_to_end(api: Api) -> None:
    refused = await api.call("POST", await _jobs(api), _job("sum", "Always"))
    assert (refused.status, refused.reason) == (422, "Invalid")
    assert (
        'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'
        in refused.message
    )


async def test_what_a_job_runs_is_immutable(api: Api) -> None:
    path = await _jobs(api)
    await api.call("POST", path, _job("sum"))
    patch = {"spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}}}
    refused = await api.call("PATCH", f"{path}/sum", patch, content_type=MERGE_PATCH)
    assert (refused.status, refused.reason) == (422, "Invalid")
    assert "field is immutable" in refused.message
    more = await api.call("PATCH", f"{path}/sum", {"spec": {"parallelism": 2}}, content_type=MERGE_PATCH)
    assert more.body["spec"]["parallelism"] == 2


async def test_table_of_jobs_says_how_they_are(api: Api) -> None:
    path = await _jobs(api)
    await api.call("POST", path, _job("sum", suspend=True))
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    table = (await api.call("GET", path, headers=accept)).body
    titles = [one["name"] for one in table["columnDefinitions"] if not one["priority"]]
    assert titles == ["Name", "Status", "Completions", "Duration", "Age"]
    assert table["rows"][0]["cells"][2] == "0/1"
