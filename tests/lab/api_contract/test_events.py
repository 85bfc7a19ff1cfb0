"""Events in both of their groups: one object, two forms."""

from typing import Any

import pytest

from tests.lab.api_contract.api import MERGE_PATCH, STRATEGIC_PATCH, Answer, Api

pytestmark = pytest.mark.asyncio(loop_scope="session")
TIME = "2026-01-02T03:04:05.678901Z"


def paths(namespace: str) -> tuple[str, str]:
    return f"{namespace}/events", f"{namespace.replace('/api/v1', '/apis/events.k8s.io/v1')}/events"


def observed(namespace: str, **changed: Any) -> dict[str, Any]:
    regarding = {"kind": "Pod", "namespace": namespace.rpartition("/")[2], "name": "web", "apiVersion": "v1"}
    return {
        "metadata": {"name": "seen"},
        "eventTime": TIME,
        "type": "Normal",
        "reason": "Seen",
        "action": "Looking",
        "note": "It was seen.",
        "regarding": regarding,
        "reportingController": "example.com/eye",
        "reportingInstance": "eye-1",
        **changed,
    }


def causes(answer: Answer) -> dict[str, str]:
    return {one["field"]: one["message"] for one in answer.body["details"]["causes"]}


async def test_an_event_of_one_group_is_one_of_the_other_too(api: Api) -> None:
    namespace = await api.namespace()
    core, new = paths(namespace)
    made = await api.call("POST", new, observed(namespace))
    assert made.status == 201, made.body
    assert (made.body["apiVersion"], made.body["note"]) == ("events.k8s.io/v1", "It was seen.")
    old = (await api.call("GET", f"{core}/seen")).body
    assert (old["apiVersion"], old["message"], old["eventTime"]) == ("v1", "It was seen.", TIME)
    assert (old["involvedObject"]["name"], old["reportingComponent"]) == ("web", "example.com/eye")
    assert old["metadata"]["uid"] == made.body["metadata"]["uid"]
    about = old["involvedObject"]
    legacy = {
        "metadata": {"name": "legacy"},
        "involvedObject": about,
        "message": "x",
        "count": 3,
        "source": {"component": "eye"},
        "lastTimestamp": "2026-01-02T03:04:05Z",
    }
    assert (await api.call("POST", core, legacy)).status == 201
    shown = (await api.call("GET", f"{new}/legacy")).body
    assert (shown["note"], shown["deprecatedCount"], shown["deprecatedSource"]) == (
        "x",
        3,
        {"component": "eye"},
    )
    assert (shown["deprecatedLastTimestamp"], shown["regarding"]) == ("2026-01-02T03:04:05Z", about)
    listed = (await api.call("GET", new, fieldSelector="regarding.name=web,reportingController=")).body
    assert (listed["kind"], listed["apiVersion"]) == ("EventList", "events.k8s.io/v1")
    assert [(one["metadata"]["name"], one["note"]) for one in listed["items"]] == [("legacy", "x")]


async def test_changes_through_either_group_are_seen_by_watches_of_both(api: Api) -> None:
    namespace = await api.namespace()
    core, new = paths(namespace)
    made = (await api.call("POST", new, observed(namespace))).body
    since = {"resourceVersion": made["metadata"]["resourceVersion"]}
    async with api.watching(new, **since) as news, api.watching(core, **since) as olds:
        series = {"series": {"count": 2, "lastObservedTime": TIME}}
        patched = await api.call("PATCH", f"{new}/seen", series, content_type=STRATEGIC_PATCH)
        assert (patched.status, patched.body["series"]) == (200, series["series"])
        await api.call("PATCH", f"{core}/seen", {"message": "Again."}, content_type=MERGE_PATCH)
        assert (await api.call("DELETE", f"{new}/seen")).status == 200
        seen = [[await anext(one) for _ in range(3)] for one in (news, olds)]
    assert [[one["type"] for one in each] for each in seen] == [["MODIFIED", "MODIFIED", "DELETED"]] * 2
    assert [one["object"]["note"] for one in seen[0]] == ["It was seen.", "Again.", "Again."]
    assert [one["object"]["message"] for one in seen[1]] == ["It was seen.", "Again.", "Again."]
    assert {one["object"]["apiVersion"] for one in seen[0]} == {"events.k8s.io/v1"}


async def test_a_new_event_says_when_by_whom_and_what_and_nothing_deprecated(api: Api) -> None:
    namespace = await api.namespace()
    _, new = paths(namespace)
    body = observed(namespace, eventTime=None, type="Odd", deprecatedCount=1)
    told = causes(await api.call("POST", new, body))
    assert told["eventTime"] == "Required value"
    assert told["type"] == 'Invalid value: "": has invalid value: Odd'
    assert told["count"] == 'Invalid value: "": needs to be unset'
    body = observed(namespace, reportingInstance="", action="", series={"count": 1})
    told = causes(await api.call("POST", new, body))
    assert {told[field] for field in ("reportingInstance", "action")} == {"Required value"}
    assert "series.count" in told
