"""PeerAuthentications as their status tells what became of them."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from isthmus.config.accepted_tls import PeerAuthentications
from isthmus.config.peer_authentication import PEER_AUTHENTICATION
from isthmus.config.peer_status import PeerStatus, analysed
from isthmus.config.status import StatusWriter
from isthmus.config.store import ConfigStore
from isthmus.kube.client import running_client
from isthmus.kube.decoding import Ref
from isthmus.lib.lifecycle import task_scope
from tests.kube.fake_api import running_fake_api, status

NOON, LATER = 1_767_268_800.0, 1_767_268_860.0
FIRST, SECOND = Ref("demo", "first"), Ref("demo", "second")


def peers(ref: Ref, mode: str, *, created: int = 0, generation: int = 1, **more: Any) -> dict[str, Any]:
    metadata = {
        **ref._asdict(),
        "generation": generation,
        "creationTimestamp": f"2026-01-01T00:00:0{created}Z",
    }
    return {"metadata": metadata, "spec": {"mtls": {"mode": mode}}, **more}


@dataclass
class Told:
    """What was to be written, by object, as an API server would merge it."""

    store: ConfigStore[Any] = field(default_factory=lambda: ConfigStore(PEER_AUTHENTICATION))
    wanted: dict[Ref, Mapping[str, Any]] = field(default_factory=dict[Ref, Mapping[str, Any]])
    now: float = NOON

    def __post_init__(self) -> None:
        self.taker = PeerStatus(
            self.store,
            PeerAuthentications("istio-system", self.store),
            self.wanted.__setitem__,
            lambda ref: (self.wanted.pop(ref, None), None)[1],
            wall=lambda: self.now,
        )

    def conditions(self) -> dict[Ref, tuple[str, str]]:
        found: dict[Ref, tuple[str, str]] = {}
        for ref, written in self.wanted.items():
            [one] = written["conditions"]
            assert one["type"] == "PassedAnalysis"
            assert one["reason"] == {"True": "noErrorsFound", "False": "errorsFound"}[one["status"]]
            found[ref] = one["status"], one["message"]
        return found


def test_of_two_for_the_same_workloads_the_younger_says_so_until_the_older_goes() -> None:
    told = Told()
    told.taker.apply(SECOND, peers(SECOND, "STRICT", created=2))
    assert told.conditions() == {SECOND: ("True", "")}
    told.taker.apply(FIRST, peers(FIRST, "DISABLE", created=1))
    older = "demo/first is older and for the same workloads; delete one of them"
    assert told.conditions() == {FIRST: ("True", ""), SECOND: ("False", older)}
    told.taker.remove(FIRST)
    assert told.conditions() == {SECOND: ("True", "")}
    away = Ref("istio-system", "some")
    odd = peers(away, "STRICT")
    odd["spec"]["selector"] = {"matchLabels": {"app": "web"}}
    told.taker.apply(away, odd)
    assert told.conditions()[away] == (
        "False",
        "objects of the root namespace are for the whole mesh; leave out the selector",
    )


def test_a_version_that_is_refused_says_which_field_and_what_holds_meanwhile() -> None:
    told = Told()
    told.taker.apply(FIRST, peers(FIRST, "NONSENSE"))
    refused = "spec.mtls.mode: invalid enum value 'NONSENSE'"
    assert told.conditions() == {FIRST: ("False", f"{refused}; it is not in force")}
    told.taker.apply(FIRST, peers(FIRST, "STRICT", generation=2))
    assert told.conditions() == {FIRST: ("True", "")}
    told.taker.apply(FIRST, peers(FIRST, "NONSENSE", generation=3))
    assert told.conditions() == {FIRST: ("False", f"{refused}; the version before it stays in force")}
    assert told.wanted[FIRST]["observedGeneration"] == 3


def test_what_a_status_says_already_is_not_written_again_and_what_others_say_stays() -> None:
    reconciled = {"type": "Reconciled", "status": "True"}
    found = peers(FIRST, "STRICT", status={"conditions": [reconciled]})
    written = analysed(found, "", NOON)
    assert written is not None
    assert [one["type"] for one in written["conditions"]] == ["Reconciled", "PassedAnalysis"]
    assert written["conditions"][1]["lastTransitionTime"] == "2026-01-01T12:00:00Z"
    found["status"] = written
    assert analysed(found, "", LATER) is None, "so that replicas do not write in turns"
    found["metadata"]["generation"] = 2
    again = analysed(found, "", LATER)
    assert again is not None
    assert again["conditions"][1]["lastTransitionTime"] == "2026-01-01T12:00:00Z", "it did not change"
    turned = analysed(found, "no use", LATER)
    assert turned is not None
    assert turned["conditions"][1]["lastTransitionTime"] == "2026-01-01T12:01:00Z"


@pytest.mark.parametrize("odd", ["x", [1], {"conditions": "x"}, {"conditions": [1]}])
def test_a_status_of_another_shape_is_written_anew(odd: Any) -> None:
    written = analysed(peers(FIRST, "STRICT", status=odd), "", NOON)
    assert written is not None
    assert len(written["conditions"]) == 1


@asynccontextmanager
async def writing(answers: list[int]) -> AsyncGenerator[tuple[StatusWriter, asyncio.Queue[Any]]]:
    """A writer, and what it sends; `answers` are HTTP statuses for the first requests."""
    sent: asyncio.Queue[Any] = asyncio.Queue()
    source = PEER_AUTHENTICATION.source

    async def intercept(request: web.Request) -> web.Response | None:
        sent.put_nowait((request.path, await request.json()))
        code = answers.pop(0) if answers else 200
        return web.json_response({}) if code == 200 else status(code, "Forbidden")

    async with running_fake_api(source) as api, running_client(api.access) as client, task_scope() as tasks:
        api.intercept = intercept
        writer = StatusWriter(client, source)
        tasks.serve(writer.run(), name="writer")
        yield writer, sent


async def test_only_the_latest_is_written_and_a_refusal_stops_nothing() -> None:
    async with writing([403]) as (writer, sent), asyncio.timeout(10):
        writer.want(FIRST, {"conditions": [1]})
        assert (await sent.get())[1] == {"status": {"conditions": [1]}}
        writer.want(SECOND, {"conditions": [2]})
        writer.want(SECOND, {"conditions": [3]})
        writer.want(FIRST, {"conditions": [4]})
        writer.forget(FIRST)
        path, body = await sent.get()
        assert path.endswith("/namespaces/demo/peerauthentications/second/status")
        assert body == {"status": {"conditions": [3]}}
        assert sent.empty()
