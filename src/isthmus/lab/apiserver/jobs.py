"""Jobs and CronJobs: defaults, the selector that the server makes, and rules. Pure.

Refused, where Kubernetes would take it: `completionMode: Indexed`, and policies on pods' failures or success.
"""

from collections.abc import Iterator
from datetime import datetime

from isthmus.lab.apiserver.cells import age
from isthmus.lab.apiserver.errors import Cause, forbidden_value, invalid_value, required, unsupported
from isthmus.lab.apiserver.objects import Object, encode, items, metadata, name_of, section
from isthmus.lab.apiserver.pods import default_pod_spec, validate_pod_spec
from isthmus.lab.schedule import ScheduleError, read_schedule

_PREFIX = "batch.kubernetes.io/"
_DEFAULTS = {"parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False}
_POLICIES = ("podFailurePolicy", "successPolicy", "backoffLimitPerIndex", "maxFailedIndexes")
_CRON_DEFAULTS = {
    "concurrencyPolicy": "Allow",
    "suspend": False,
    "successfulJobsHistoryLimit": 3,
    "failedJobsHistoryLimit": 1,
}
_NO_POLICY = 'valid values: "OnFailure", "Never"'
_CONCURRENCY = ("Allow", "Forbid", "Replace")
_LONGEST_CRON_JOB = 52
_COUNTS = ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished")


def default_job(job: Object) -> None:
    """Fill in a Job; its pods are told apart by its uid, unless it selects them by itself."""
    spec = job.setdefault("spec", {})
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    for field, value in _DEFAULTS.items():
        spec.setdefault(field, value)
    spec.setdefault("podReplacementPolicy", "TerminatingOrFailed")
    template = spec.setdefault("template", {})
    default_pod_spec(template.setdefault("spec", {}))
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    uid = metadata(job).get("uid", "")
    if not spec.get("manualSelector") and uid:
        for prefix in ("", _PREFIX):
            labels.setdefault(f"{prefix}controller-uid", uid)
            labels.setdefault(f"{prefix}job-name", name_of(job))
        spec.setdefault("selector", {"matchLabels": {f"{_PREFIX}controller-uid": uid}})
    job.setdefault("status", {})


def validate_job(job: Object) -> Iterator[Cause]:
    """The faults of a Job, after defaulting."""
    spec = job["spec"]
    if not spec.get("selector"):
        yield required("spec.selector")
    for field in _COUNTS:
        if spec.get(field) is not None and spec[field] < 0:
            yield invalid_value(f"spec.{field}", spec[field], "must be greater than or equal to 0")
    if spec["completionMode"] != "NonIndexed":
        yield unsupported("spec.completionMode", spec["completionMode"], ("NonIndexed",))
    for field in _POLICIES:
        if field in spec:
            yield forbidden_value(f"spec.{field}", "is not known to the embedded API server")
    pod = spec["template"]["spec"]
    yield from validate_pod_spec(pod, "spec.template.spec")
    if pod["restartPolicy"] not in ("OnFailure", "Never"):
        yield required("spec.template.spec.restartPolicy", _NO_POLICY)


def validate_job_update(job: Object, old: Object) -> Iterator[Cause]:
    """Faults of a change: what a Job runs stays as it was created."""
    for field in ("completions", "selector", "template", "completionMode"):
        new, was = job["spec"].get(field), old["spec"].get(field)
        if new != was:
            text = f"Invalid value: {encode(new).decode()}: field is immutable"
            yield Cause(f"spec.{field}", "FieldValueInvalid", text)


def default_cron_job(cron_job: Object) -> None:
    """Fill in a CronJob; its Jobs get their selectors when they are made."""
    spec = cron_job.setdefault("spec", {})
    for field, value in _CRON_DEFAULTS.items():
        spec.setdefault(field, value)
    job = spec.setdefault("jobTemplate", {})
    template = job.setdefault("spec", {}).setdefault("template", {})
    template.setdefault("metadata", {})
    job.setdefault("metadata", {})
    default_pod_spec(template.setdefault("spec", {}))
    cron_job.setdefault("status", {})


def validate_cron_job(cron_job: Object) -> Iterator[Cause]:
    """The faults of a CronJob, after defaulting."""
    spec = cron_job["spec"]
    try:
        read_schedule(spec.get("schedule", ""), spec.get("timeZone") or "UTC")
    except ScheduleError as error:
        field = "timeZone" if error.zone else "schedule"
        yield invalid_value(f"spec.{field}", spec.get(field, ""), str(error))
    if spec["concurrencyPolicy"] not in _CONCURRENCY:
        yield unsupported("spec.concurrencyPolicy", spec["concurrencyPolicy"], _CONCURRENCY)
    for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        if spec.get(field) is not None and spec[field] < 0:
            yield invalid_value(f"spec.{field}", spec[field], "must be greater than or equal to 0")
    if len(name_of(cron_job)) > _LONGEST_CRON_JOB:
        text = f"must be no more than {_LONGEST_CRON_JOB} characters"
        yield invalid_value("metadata.name", name_of(cron_job), text)
    job, path = spec["jobTemplate"]["spec"], "spec.jobTemplate.spec"
    if "selector" in job:
        yield invalid_value(f"{path}.selector", job["selector"], "will be generated")
    pod = job["template"]["spec"]
    yield from validate_pod_spec(pod, f"{path}.template.spec")
    if pod["restartPolicy"] not in ("OnFailure", "Never"):
        yield required(f"{path}.template.spec.restartPolicy", _NO_POLICY)


def job_status(job: Object) -> str:
    """The one word that says how a Job is."""
    held = {
        one.get("type") for one in items(section(job, "status"), "conditions") if one.get("status") == "True"
    }
    for condition in ("Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if condition in held:
            return condition
    return "Running"


def job_duration(job: Object) -> str:
    """How long a Job ran, or has been running; empty before it is started."""
    status = section(job, "status")
    if not status.get("startTime"):
        return ""
    ended = status.get("completionTime")
    return age(status["startTime"], now=datetime.fromisoformat(ended) if ended else None)


def job_completions(job: Object) -> str:
    """Succeeded pods of those wanted."""
    done, spec = section(job, "status").get("succeeded", 0), section(job, "spec")
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    parallel = spec.get("parallelism", 1)
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"
