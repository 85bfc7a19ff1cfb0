"""StatefulSets, DaemonSets and CronJobs against the lab's own API server; nodes are played by the tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from isthmus.kube.kinds import untyped
from isthmus.lab.controllers.cronjobs import due_times
from isthmus.lab.controllers.objects import Object, is_ready
from tests.lab.controllers.test_reconciling import POD, World, world

STATEFUL_SET = untyped("apps", "v1", "statefulsets", "StatefulSet")
DAEMON_SET = untyped("apps", "v1", "daemonsets", "DaemonSet")
CRON_JOB = untyped("batch", "v1", "cronjobs", "CronJob")
JOB = untyped("batch", "v1", "jobs", "Job")
NODE = untyped("", "v1", "nodes", "Node", namespaced=False)
LABELS = {"app": "db"}
__all__ = ["world"]


def body(name: str, image: str = "example/db:1", **spec: Any) -> Object:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "main", "image": image}]}}
    return {
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": LABELS}, "template": template, **spec},
    }


def names(pods: list[Object]) -> set[str]:
    return {pod["metadata"]["name"] for pod in pods}


def images(pods: list[Object]) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in pods}


def new_image(image: str) -> Object:
    return {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}}


async def test_a_stateful_sets_pods_come_one_by_one_keep_their_names_and_go_last_first(world: World) -> None:
    await world.client.create(STATEFUL_SET, body("db", replicas=3, serviceName="db"), "demo")
    for number in range(3):
        found = await world.until(POD, lambda pods, wanted=number: len(pods) == wanted + 1)
        assert names(found) == {f"db-{each}" for each in range(number + 1)}, (
            "the next waits for the one before"
        )
        (newest,) = [pod for pod in found if pod["metadata"]["name"] == f"db-{number}"]
        assert (newest["spec"]["hostname"], newest["spec"]["subdomain"]) == (f"db-{number}", "db")
        assert newest["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == str(number)
        await world.make_ready(newest, f"10.1.0.{number + 1}")
    world.scope.serve(world.play_node(), name="node")
    await world.until(STATEFUL_SET, lambda sets: sets and sets[0]["status"].get("availableReplicas") == 3)
    before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in await world.until(POD, bool)}
    await world.client.delete(POD, "db-1", "demo", grace_seconds=0)
    again = await world.until(
        POD, lambda pods: len(pods) == 3 and all(map(is_ready, pods)) and _changed(pods, before) == {"db-1"}
    )
    assert names(again) == set(before)
    await world.client.patch(STATEFUL_SET, "db", new_image("example/db:2"), "demo")
    await world.until(STATEFUL_SET, lambda sets: sets and _is_updated(sets[0]))
    assert images(await world.until(POD, lambda pods: len(pods) == 3)) == {"example/db:2"}
    await world.client.patch(STATEFUL_SET, "db", {"spec": {"replicas": 1}}, "demo")
    assert names(await world.until(POD, lambda pods: len(pods) == 1)) == {"db-0"}
    await world.client.delete(STATEFUL_SET, "db", "demo")
    await world.until(POD, lambda pods: not pods)


def _is_updated(found: Object) -> bool:
    status = found["status"]
    seen = status["observedGeneration"] == found["metadata"]["generation"]
    return (
        seen and status.get("updatedReplicas") == 3 and status["currentRevision"] == status["updateRevision"]
    )


def _changed(pods: list[Object], before: dict[str, str]) -> set[str]:
    return {
        pod["metadata"]["name"] for pod in pods if pod["metadata"]["uid"] != before[pod["metadata"]["name"]]
    }


async def test_a_daemon_set_has_one_pod_on_each_node_that_it_may_use(world: World) -> None:
    world.scope.serve(world.play_node(), name="node")
    for name, zone in (("a", "one"), ("b", "one"), ("c", "two")):
        await world.client.create(NODE, {"metadata": {"name": name, "labels": {"zone": zone}}})
    daemon = body("agent")
    daemon["spec"]["template"]["spec"]["nodeSelector"] = {"zone": "one"}
    await world.client.create(DAEMON_SET, daemon, "demo")
    await world.until(DAEMON_SET, lambda sets: sets and sets[0]["status"].get("numberAvailable") == 2)
    assert {pod["spec"]["nodeName"] for pod in await world.until(POD, bool)} == {"a", "b"}
    await world.client.patch(NODE, "c", {"metadata": {"labels": {"zone": "one"}}})
    await world.until(POD, lambda pods: {pod["spec"]["nodeName"] for pod in pods} == {"a", "b", "c"})
    await world.client.patch(DAEMON_SET, "agent", new_image("example/db:2"), "demo")
    await world.until(POD, lambda pods: len(pods) == 3 and images(pods) == {"example/db:2"})
    await world.client.delete(NODE, "a")
    await world.until(POD, lambda pods: {pod["spec"]["nodeName"] for pod in pods} == {"b", "c"})


async def test_a_cron_job_makes_up_for_the_time_that_it_missed(world: World) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "example/task"}]}
    template = {"metadata": {"labels": LABELS}, "spec": {"template": {"spec": pod}}}
    spec = {"schedule": "* * * * *", "suspend": True, "concurrencyPolicy": "Forbid", "jobTemplate": template}
    await world.client.create(CRON_JOB, {"metadata": {"name": "sum"}, "spec": spec}, "demo")
    past = (datetime.now(UTC) - timedelta(minutes=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    await world.client.patch(
        CRON_JOB, "sum", {"status": {"lastScheduleTime": past}}, "demo", subresource="status"
    )
    await world.client.patch(CRON_JOB, "sum", {"spec": {"suspend": False}}, "demo")
    (job,) = await world.until(JOB, bool)
    assert job["metadata"]["labels"] == LABELS
    assert job["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
    (found,) = await world.until(CRON_JOB, lambda jobs: jobs and jobs[0]["status"].get("active"))
    assert found["status"]["lastScheduleTime"] > past
    (task,) = await world.until(POD, bool)
    status = {"status": {"phase": "Succeeded"}}
    await world.client.patch(POD, task["metadata"]["name"], status, "demo", subresource="status")
    await world.until(CRON_JOB, lambda jobs: "lastSuccessfulTime" in jobs[0]["status"] if jobs else False)
    await world.client.delete(CRON_JOB, "sum", "demo")
    await world.until(JOB, lambda jobs: not jobs)


@pytest.mark.parametrize(
    ("deadline", "due"),
    [(None, "2026-01-01T11:59:00+00:00"), (3600, "2026-01-01T11:59:00+00:00"), (30, None)],
)
def test_only_the_latest_missed_time_is_made_up_for_and_none_after_its_deadline(
    deadline: int | None, due: str | None
) -> None:
    now = datetime(2026, 1, 1, 11, 59, 40, tzinfo=UTC)
    spec = {"schedule": "59 * * * *", "startingDeadlineSeconds": deadline}
    item = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec}
    found, following = due_times(item, now)
    assert found == (datetime.fromisoformat(due) if due else None)
    assert following == datetime(2026, 1, 1, 12, 59, tzinfo=UTC)
