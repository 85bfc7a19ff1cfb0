"""Job → Pods: as many at once as it allows, until enough succeeded, or too many failed or it took too long.

Pods are counted while they exist: one that somebody deletes after its end is run again, where Kubernetes
remembers it by a finalizer. Refused with the Job itself: indexes and policies (`lab.apiserver.jobs`).
"""

from collections.abc import Sequence

from isthmus.kube.client import Client
from isthmus.lab.controllers.cache import Caches
from isthmus.lab.controllers.objects import (
    Key,
    Object,
    age,
    condition_of,
    controller_of,
    entries,
    is_controlled_by,
    is_finished,
    is_ready,
    is_terminating,
    key_of,
    name_below,
    section,
    timestamp,
)
from isthmus.lab.controllers.owned import end_pods, pod_of
from isthmus.lab.controllers.queue import WorkQueue

_FIRST_DELAY, _LONGEST_DELAY = 10.0, 600.0


class Jobs:
    """Reconciles Jobs by name."""

    def __init__(self, client: Client, caches: Caches, queue: WorkQueue) -> None:
        self._client = client
        self._jobs = caches["batch", "jobs"]
        self._pods = caches["", "pods"]
        self._queue = queue
        self._jobs.listen(self._job_changed)
        self._pods.listen(self._pod_changed)

    def _job_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._queue.add(key_of(new))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        either = new or old
        owner = controller_of(either) if either is not None else None
        if either is not None and owner is not None and owner["kind"] == "Job":
            self._queue.add(Key(key_of(either).namespace, owner["name"]))

    async def reconcile(self, key: Key) -> None:
        """Run what is left to run, end what is to end, and say so in the status."""
        job = self._jobs.get(key)
        if job is None or is_terminating(job):
            return
        if outcome(job):
            await self._expire(key, job)
            return
        pods = [pod for pod in self._pods.within(key.namespace) if is_controlled_by(pod, job)]
        active = [pod for pod in pods if not is_finished(pod) and not is_terminating(pod)]
        ended = verdict(job, pods)
        wanted = 0 if ended else wanted_pods(job, pods)
        if wanted > len(active):
            wait = retry_delay(pods)
            if wait > 0:
                self._queue.add_later(key, wait)
            else:
                active += await self._create(job, wanted - len(active))
        elif wanted < len(active):
            await end_pods(self._client, self._pods, active[wanted:])
            active = active[:wanted]
        await self._report(key, job, pods, active, ended)
        limit = job["spec"].get("activeDeadlineSeconds")
        if limit and not ended:
            started = section(job, "status").get("startTime")
            self._queue.add_later(key, max(0.0, limit - (age(started) if started else 0.0)))

    async def _expire(self, key: Key, job: Object) -> None:
        """Delete a Job that has ended when its time to live is over."""
        kept, condition = job["spec"].get("ttlSecondsAfterFinished"), outcome(job)
        if kept is None or condition is None:
            return
        left = kept - age(condition["lastTransitionTime"])
        if left > 0:
            self._queue.add_later(key, left)
        else:
            path = f"/apis/batch/v1/namespaces/{key.namespace}/jobs/{key.name}"
            await self._client.request("DELETE", path, params={"propagationPolicy": "Foreground"})

    async def _create(self, job: Object, count: int) -> list[Object]:
        key = key_of(job)
        made: list[Object] = []
        for _ in range(count):
            name = name_below(key.name)
            body = pod_of(job, name, "batch/v1", "Job")
            made.append(await self._client.create(self._pods.kind, body, key.namespace))
        await self._pods.until(lambda: all(self._pods.get(key_of(pod)) for pod in made))
        return made

    async def _report(
        self, key: Key, job: Object, pods: list[Object], active: list[Object], ended: Sequence[Object]
    ) -> None:
        before = section(job, "status")
        status: Object = {
            "active": len(active) or None,
            "ready": sum(map(is_ready, active)),
            "succeeded": _count(pods, "Succeeded") or None,
            "failed": _count(pods, "Failed") or None,
            "terminating": sum(is_terminating(pod) and not is_finished(pod) for pod in pods),
        }
        if not job["spec"].get("suspend"):
            status["startTime"] = before.get("startTime") or timestamp()
        running = not all(map(is_finished, pods))  # a Job has not ended before its pods have (KEP-3329)
        told = [one for one in (ended[:1] if running else ended) if condition_of(job, one["type"]) is None]
        if told:
            now = timestamp()
            status["conditions"] = [
                *entries(job, "status", "conditions"),
                *({**one, "lastProbeTime": now, "lastTransitionTime": now} for one in told),
            ]
            if told[-1]["type"] == "Complete":
                status["completionTime"] = now
        if any(before.get(field) != value for field, value in status.items()):
            body = {"status": status}
            await self._client.patch(self._jobs.kind, key.name, body, key.namespace, subresource="status")


def outcome(job: Object) -> Object | None:
    """The condition that says that a Job has ended, or None."""
    for kind in ("Complete", "Failed"):
        condition = condition_of(job, kind)
        if condition is not None and condition["status"] == "True":
            return condition
    return None


def verdict(job: Object, pods: list[Object]) -> list[Object]:
    """The conditions of a Job that ends now, none while it goes on: what it comes to, and that it has."""
    for target, end in (("FailureTarget", "Failed"), ("SuccessCriteriaMet", "Complete")):
        if told := condition_of(job, target):
            why = (told["reason"], told["message"])
            return [_condition(target, *why), _condition(end, *why)]
    spec, started = job["spec"], section(job, "status").get("startTime")
    deadline = spec.get("activeDeadlineSeconds")
    if _count(pods, "Failed") > spec.get("backoffLimit", 6):
        why = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
        return [_condition("FailureTarget", *why), _condition("Failed", *why)]
    if deadline and started and age(started) >= deadline:
        why = ("DeadlineExceeded", "Job was active longer than specified deadline")
        return [_condition("FailureTarget", *why), _condition("Failed", *why)]
    succeeded, completions = _count(pods, "Succeeded"), spec.get("completions")
    running = any(not is_finished(pod) for pod in pods)
    if (completions is not None and succeeded >= completions) or (
        completions is None and succeeded and not running
    ):
        why = ("CompletionsReached", "Reached expected number of succeeded pods")
        return [_condition("SuccessCriteriaMet", *why), _condition("Complete", *why)]
    return []


def wanted_pods(job: Object, pods: list[Object]) -> int:
    """How many pods may run now: as many as are left to succeed, and no more than at once."""
    spec = job["spec"]
    parallelism, completions = spec.get("parallelism", 1), spec.get("completions")
    if spec.get("suspend"):
        return 0
    if completions is not None:
        return min(parallelism, completions - _count(pods, "Succeeded"))
    if _count(pods, "Succeeded"):
        return sum(not is_finished(pod) and not is_terminating(pod) for pod in pods)
    return parallelism


def retry_delay(pods: list[Object]) -> float:
    """Seconds until the next pod may follow failed ones: 10, 20, 40, up to 600 after the last one's end."""
    failed = [pod for pod in pods if section(pod, "status").get("phase") == "Failed"]
    if not failed:
        return 0.0
    delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (len(failed) - 1))
    return delay - min(map(_ended_for, failed))


def _ended_for(pod: Object) -> float:
    ends = [
        section(status, "state", "terminated").get("finishedAt")
        for status in entries(pod, "status", "containerStatuses")
    ]
    return min((age(end) for end in ends if end), default=age(pod["metadata"]["creationTimestamp"]))


def _count(pods: list[Object], phase: str) -> int:
    return sum(section(pod, "status").get("phase") == phase for pod in pods)


def _condition(kind: str, reason: str, message: str) -> Object:
    return {"type": kind, "status": "True", "reason": reason, "message": message}
