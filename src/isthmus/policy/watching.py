"""Policies out of the Kubernetes API into a rulebook, and what became of them back into their status."""

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

import structlog

from isthmus.config.policy import GROUP, KIND, PLURAL, VERSION, PolicyRef, PolicyStatus, policy_ref
from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import untyped
from isthmus.kube.watch import Event, Phase, Removed, Synced, Upserted, WatchState, watch_kind
from isthmus.lib.lifecycle import task_scope
from isthmus.policy.rulebook import Rulebook

_log = structlog.get_logger(__name__)
POLICIES = untyped(GROUP, VERSION, PLURAL, KIND)


class PolicyWatch:
    """Keeps a rulebook as the API server has it; `changed` is called after each change."""

    def __init__(self, client: Client, rulebook: Rulebook, changed: Callable[[], None]) -> None:
        self.settled = asyncio.Event()
        """Set once all policies were read, or the API server said that it knows none such."""
        self._client = client
        self._rulebook = rulebook
        self._changed = changed
        self._missing = False
        self._unwritten: dict[PolicyRef, PolicyStatus] = {}
        self._news = asyncio.Event()

    async def run(self) -> NoReturn:
        """Until cancelled."""
        async with task_scope() as tasks:
            tasks.serve(self._write_status(), name="policy status")
            await watch_kind(self._client, POLICIES, self._deliver, report=self._report)
        raise AssertionError("a watch never ends by itself")

    def _deliver(self, event: Event[dict[str, Any]]) -> None:
        match event:
            case Upserted(found):
                self._apply(found)
            case Removed(found):
                ref = policy_ref(found)
                self._rulebook.remove(ref)
                self._unwritten.pop(ref, None)
                _log.info("policy removed", policy=str(ref))
                self._changed()
            case Synced():
                self.settled.set()
                _log.info("policies are read", in_force=len(self._rulebook.policies()))

    def _apply(self, found: dict[str, Any]) -> None:
        verdict = self._rulebook.apply(found)
        generation = found.get("metadata", {}).get("generation", 0)
        refusal = verdict.refusal
        status = PolicyStatus(
            accepted=refusal is None,
            observed_generation=generation,
            reason="" if refusal is None else f"{refusal.field}: {refusal.reason}",
        )
        self._changed()
        if found.get("status") == _plain(status):
            return
        if refusal is None:
            _log.info("policy in force", policy=str(verdict.ref))
        else:
            _log.warning(
                "policy rejected", policy=str(verdict.ref), field=refusal.field, reason=refusal.reason
            )
        self._unwritten[verdict.ref] = status
        self._news.set()

    def _report(self, state: WatchState) -> None:
        missing = isinstance(state.error, ApiError) and state.error.status == 404
        if missing and not self._missing:
            _log.warning(
                "there are no policies: the CustomResourceDefinition is missing", crd=f"{PLURAL}.{GROUP}"
            )
        if missing and state.phase is Phase.FAILED:
            self.settled.set()
        self._missing = missing

    async def _write_status(self) -> NoReturn:
        """One status at a time; only the latest of each object. What cannot be written is logged and left."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._unwritten:
                ref, status = self._unwritten.popitem()
                try:
                    body = {"status": _plain(status)}
                    await self._client.patch(POLICIES, ref.name, body, ref.namespace, subresource="status")
                except (ApiError, Unreachable) as error:
                    _log.warning("policy status cannot be written", policy=str(ref), error=str(error))


def _plain(status: PolicyStatus) -> dict[str, Any]:
    return {
        "accepted": status.accepted,
        "observedGeneration": status.observed_generation,
        "reason": status.reason,
    }
