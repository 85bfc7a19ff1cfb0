"""Events as events.k8s.io/v1 shows them: the objects of core/v1, under other names. Pure.

Source: the conversions between both in k8s.io/kubernetes, pkg/apis/events/v1, and `ValidateEventCreate`.
"""

from collections.abc import Iterator

from isthmus.lab.apiserver.errors import Cause, invalid_value, required
from isthmus.lab.apiserver.objects import Object, section

_NAMES = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_SHOWN = {core: name for name, core in _NAMES.items()}
_DEPRECATED = ("firstTimestamp", "lastTimestamp", "count", "source")


def show_event(event: Object) -> Object:
    """A core Event as one of events.k8s.io."""
    return {
        _SHOWN.get(name, name): part for name, part in event.items() if name not in ("kind", "apiVersion")
    }


def read_event(event: Object) -> Object:
    """An Event of events.k8s.io as a core one."""
    return {
        _NAMES.get(name, name): part for name, part in event.items() if name not in ("kind", "apiVersion")
    }


def core_field(path: str) -> str:
    """The core name of what a field selector names."""
    head, dot, rest = path.partition(".")
    return f"{_NAMES.get(head, head)}{dot}{rest}"


def validate_new_event(event: Object) -> Iterator[Cause]:
    """What a core Event that came through events.k8s.io must have, and must not have any longer."""
    if not event.get("eventTime"):
        yield required("eventTime")
    if event.get("type") not in ("Normal", "Warning"):
        yield invalid_value("type", "", f"has invalid value: {event.get('type', '')}")
    for field in _DEPRECATED:
        if event.get(field):
            yield invalid_value(field, "", "needs to be unset")


def validate_observed(event: Object) -> Iterator[Cause]:
    """What a core Event with an `eventTime` must have."""
    if not event.get("eventTime"):
        return
    for field, name in (("reportingComponent", "reportingController"), ("reportingInstance", "")):
        if not event.get(field):
            yield required(name or field)
    for field in ("action", "reason"):
        if not event.get(field):
            yield required(field)
        elif len(event[field]) > 128:
            yield invalid_value(field, "", "can have at most 128 characters")
    if len(event.get("message") or "") > 1024:
        yield invalid_value("message", "", "can have at most 1024 characters")
    series = section(event, "series")
    if series and series.get("count", 0) < 2:
        yield invalid_value("series.count", "", "should be at least 2")
    if series and not series.get("lastObservedTime"):
        yield required("series.lastObservedTime")
