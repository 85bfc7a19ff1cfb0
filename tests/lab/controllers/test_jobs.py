"""Jobs against the lab's own API server; the tests play the node that runs their pods."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import pytest

from isthmus.kube.client import Client, running_client
from isthmus.kube.kinds import Kind, untyped
from isthmus.lab.apiserver.server import running_api_server
from isthmus.lab.controllers.jobs import retry_delay, verdict, wanted_pods
from isthmus.lab.controllers.objects import Object, timestamp
from isthmus.lab.controllers.wiring import running_controllers
from isthmus.lib.lifecycle import task_scope
from tests.lab.controllers.test_reconciling import POD, World

JOB = untyped("batch", "v1", "jobs", "Job")


@dataclass
class Batch:
    """A cluster with controllers, and namespace `demo` in it."""

    client: Client
    world: World

    async def start(self, name: str, **spec: Any) -> None:
        container = {"name": "main", "image": "example/task"}
        template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        body = {"metadata": {"name": name}, "spec": {"template": template, **spec}}
        await self.client.create(JOB, body, "demo")

    async def pods(self, count: int) -> list[Object]:
        """The pods that run, once they are as many as that."""
        found = await self.world.until(POD, lambda pods: len(_running(pods)) == count)
        return _running(found)

    async def end(self, pod: Object, phase: str) -> None:
        await self.client.patch(
            POD, pod["metadata"]["name"], {"status": {"phase": phase}}, "demo", subresource="status"
        )

    async def until(self, kind: "Kind[Object]", condition: str) -> Object:
        def holds(objects: list[Object]) -> bool:
            return any(
                one["type"] == condition and one["status"] == "True"
                for item in objects
                for one in item.get("status", {}).get("conditions", ())
            )

        (found,) = await self.world.until(kind, holds)
        return found


def _running(pods: list[Object]) -> list[Object]:
    return [pod for pod in pods if pod["status"]["phase"] == "Pending"]


@pytest.fixture
async def batch() -> AsyncGenerator[Batch]:
    namespace = untyped("", "v1", "namespaces", "Namespace", namespaced=False)
    account = untyped("", "v1", "serviceaccounts", "ServiceAccount")
    async with (
        running_api_server() as server,
        running_client(server.access()) as client,
        running_controllers(server.access()),
        task_scope() as scope,
    ):
        world = World(client, scope)
        await client.create(namespace, {"metadata": {"name": "demo"}})
        await world.until(account, bool)
        yield Batch(client, world)


async def test_job_completes_when_enough_pods_succeeded(batch: Batch) -> None:
    await batch.start("sum", completions=3, parallelism=2)
    first = await batch.pods(2)
    for pod in first:
        await batch.end(pod, "Succeeded")
    (last,) = await batch.pods(1)
    await batch.end(last, "Succeeded")
    job = await batch.until(JOB, "Complete")
    assert (job["status"]["succeeded"], job["status"].get("active", 0)) == (3, 0)
    assert job["status"]["completionTime"] >= job["status"]["startTime"]
    assert last["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "sum"


async def test_job_fails_when_more_pods_failed_than_it_allows(batch: Batch) -> None:
    await batch.start("sum", backoffLimit=0)
    (pod,) = await batch.pods(1)
    await batch.end(pod, "Failed")
    job = await batch.until(JOB, "Failed")
    assert job["status"]["failed"] == 1
    assert {one["reason"] for one in job["status"]["conditions"]} == {"BackoffLimitExceeded"}


async def test_a_job_has_not_failed_before_its_last_pod_has_ended(batch: Batch) -> None:
    await batch.start("sum", backoffLimit=0, parallelism=2, completions=2)
    failed, left = await batch.pods(2)
    for pod in (failed, left):  # that of a node ends in two steps
        body = {"metadata": {"name": pod["metadata"]["name"]}, "target": {"kind": "Node", "name": "n"}}
        path = f"/api/v1/namespaces/demo/pods/{pod['metadata']['name']}/binding"
        await batch.client.request("POST", path, body=body)
    await batch.end(failed, "Failed")
    job = await batch.until(JOB, "FailureTarget")
    assert [one["type"] for one in job["status"]["conditions"]] == ["FailureTarget"]
    ending = await batch.world.until(
        POD, lambda pods: any("deletionTimestamp" in pod["metadata"] for pod in pods)
    )
    assert len(ending) == 2
    await batch.client.delete(POD, left["metadata"]["name"], "demo", grace_seconds=0)
    job = await batch.until(JOB, "Failed")
    assert [one["type"] for one in job["status"]["conditions"]] == ["FailureTarget", "Failed"]


async def test_suspended_job_runs_when_it_is_resumed(batch: Batch) -> None:
    await batch.start("sum", suspend=True)
    await batch.client.patch(JOB, "sum", {"spec": {"suspend": False}}, "demo")
    (pod,) = await batch.pods(1)
    await batch.end(pod, "Succeeded")
    await batch.until(JOB, "Complete")


async def test_job_that_has_outlived_its_end_is_deleted(batch: Batch) -> None:
    await batch.start("sum", ttlSecondsAfterFinished=0)
    (pod,) = await batch.pods(1)
    await batch.end(pod, "Succeeded")
    await batch.world.until(POD, lambda pods: not pods)
    await batch.world.until(JOB, lambda jobs: not jobs)


def _job(**spec: Any) -> Object:
    return {"metadata": {"name": "sum"}, "spec": {"backoffLimit": 6, "parallelism": 1, **spec}}


def _pod(phase: str, ended: str = "") -> Object:
    state = {"terminated": {"finishedAt": ended}} if ended else {}
    status = {"phase": phase, "containerStatuses": [{"state": state}]}
    return {"metadata": {"name": phase, "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": status}


def test_failed_pods_are_followed_later_and_later() -> None:
    now = timestamp()
    assert retry_delay([_pod("Succeeded", now)]) == 0
    assert 8 < retry_delay([_pod("Failed", now)]) <= 10
    assert 38 < retry_delay([_pod("Failed", now)] * 3) <= 40
    assert 598 < retry_delay([_pod("Failed", now)] * 20) <= 600
    assert retry_delay([_pod("Failed", "2026-01-01T00:00:00Z")]) < 0


def test_job_that_takes_too_long_fails() -> None:
    job = _job(activeDeadlineSeconds=5, completions=1)
    job["status"] = {"startTime": "2026-01-01T00:00:00Z"}
    assert [one["reason"] for one in verdict(job, [_pod("Running")])] == ["DeadlineExceeded"] * 2


def test_without_a_count_the_first_success_lets_the_others_end() -> None:
    job, pods = _job(parallelism=3), [_pod("Succeeded"), _pod("Running")]
    assert wanted_pods(job, [_pod("Running")]) == 3
    assert wanted_pods(job, pods) == 1
    assert verdict(job, pods) == []
    assert [one["type"] for one in verdict(job, pods[:1])] == ["SuccessCriteriaMet", "Complete"]
