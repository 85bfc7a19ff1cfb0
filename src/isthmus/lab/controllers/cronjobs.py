"""CronJob → Jobs, at the times that its schedule names.

Source: Kubernetes "CronJob". A time that was missed is made up for once, unless `startingDeadlineSeconds`
have passed, or a day.
"""

from datetime import UTC, datetime, timedelta

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError
from isthmus.lab.controllers.cache import Caches
from isthmus.lab.controllers.jobs import outcome
from isthmus.lab.controllers.objects import (
    Key,
    Object,
    controller_of,
    is_controlled_by,
    is_terminating,
    key_of,
    owner_reference,
    section,
    uid_of,
)
from isthmus.lab.controllers.queue import WorkQueue
from isthmus.lab.schedule import read_schedule

_LONGEST_MISSED = timedelta(days=1)
_SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"


class CronJobs:
    """Reconciles CronJobs by name."""

    def __init__(self, client: Client, caches: Caches, queue: WorkQueue) -> None:
        self._client = client
        self._cron_jobs = caches["batch", "cronjobs"]
        self._jobs = caches["batch", "jobs"]
        self._queue = queue
        self._cron_jobs.listen(self._changed)
        self._jobs.listen(self._job_changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._queue.add(key_of(new))

    def _job_changed(self, old: Object | None, new: Object | None) -> None:
        either = new or old
        owner = controller_of(either) if either is not None else None
        if either is not None and owner is not None and owner["kind"] == "CronJob":
            self._queue.add(Key(key_of(either).namespace, owner["name"]))

    async def reconcile(self, key: Key) -> None:
        """Start the Job that is due, forget the oldest, and wait for the next time."""
        found = self._cron_jobs.get(key)
        if found is None or is_terminating(found):
            return
        jobs = [job for job in self._jobs.within(key.namespace) if is_controlled_by(job, found)]
        await self._forget(found, jobs)
        active = [job for job in jobs if outcome(job) is None and not is_terminating(job)]
        started: datetime | None = None
        if not found["spec"].get("suspend"):
            due, following = due_times(found, datetime.now(UTC))
            if due is not None:
                started, active = await self._start(found, due, active)
            if following is not None:
                wait = (following - datetime.now(UTC)).total_seconds()
                self._queue.add_later(key, max(0.0, wait))
        await self._report(found, active, jobs, started)

    async def _start(
        self, found: Object, due: datetime, active: list[Object]
    ) -> tuple[datetime | None, list[Object]]:
        policy = found["spec"]["concurrencyPolicy"]
        if active and policy == "Forbid":
            return None, active
        if policy == "Replace":
            for job in active:
                await self._delete(job)
            active = []
        key, template = key_of(found), found["spec"]["jobTemplate"]
        meta = section(template, "metadata")
        annotations = {
            **section(meta, "annotations"),
            _SCHEDULED_AT: due.isoformat().replace("+00:00", "Z"),
        }
        name = f"{key.name}-{int(due.timestamp()) // 60}"
        body: Object = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "labels": section(meta, "labels"),
                "annotations": annotations,
                "name": name,
                "namespace": key.namespace,
                "ownerReferences": [owner_reference(found, "batch/v1", "CronJob")],
            },
            "spec": template["spec"],
        }
        try:
            made = await self._client.create(self._jobs.kind, body, key.namespace)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            return due, active
        await self._jobs.until(lambda: self._jobs.get(Key(key.namespace, name)) is not None)
        return due, [*active, made]

    async def _forget(self, found: Object, jobs: list[Object]) -> None:
        for condition, field in (
            ("Complete", "successfulJobsHistoryLimit"),
            ("Failed", "failedJobsHistoryLimit"),
        ):
            ended = [job for job in jobs if (end := outcome(job)) is not None and end["type"] == condition]
            ended.sort(key=lambda job: (section(job, "status").get("startTime", ""), key_of(job)))
            for job in ended[: max(0, len(ended) - found["spec"][field])]:
                await self._delete(job)

    async def _delete(self, job: Object) -> None:
        key = key_of(job)
        path = f"/apis/batch/v1/namespaces/{key.namespace}/jobs/{key.name}"
        try:
            await self._client.request("DELETE", path, params={"propagationPolicy": "Background"})
        except ApiError as error:
            if error.status != 404:
                raise

    async def _report(
        self, found: Object, active: list[Object], jobs: list[Object], started: datetime | None
    ) -> None:
        before, key = section(found, "status"), key_of(found)
        status: Object = {"active": [_reference(job) for job in active] or None}
        if started is not None:
            status["lastScheduleTime"] = started.strftime("%Y-%m-%dT%H:%M:%SZ")
        done = [section(job, "status").get("completionTime") for job in jobs]
        if any(done):
            status["lastSuccessfulTime"] = max(
                [each for each in (*done, before.get("lastSuccessfulTime")) if each]
            )
        if any(before.get(field) != value for field, value in status.items()):
            body = {"status": status}
            await self._client.patch(
                self._cron_jobs.kind, key.name, body, key.namespace, subresource="status"
            )


def due_times(found: Object, now: datetime) -> tuple[datetime | None, datetime | None]:
    """The latest time that is due and was not served, and the next one to come."""
    spec, status = found["spec"], section(found, "status")
    schedule = read_schedule(spec["schedule"], spec.get("timeZone") or "UTC")
    last = datetime.fromisoformat(status.get("lastScheduleTime") or found["metadata"]["creationTimestamp"])
    deadline = spec.get("startingDeadlineSeconds")
    missed = _LONGEST_MISSED if deadline is None else timedelta(seconds=deadline)
    due: datetime | None = None
    following = schedule.after(max(last, now - missed))
    while following is not None and following <= now:
        due, following = following, schedule.after(following)
    return due, following


def _reference(job: Object) -> Object:
    key = key_of(job)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": key.name,
        "namespace": key.namespace,
        "uid": uid_of(job),
        "resourceVersion": job["metadata"]["resourceVersion"],
    }
