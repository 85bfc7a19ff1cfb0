"""Policies out of the Kubernetes API into a rulebook, and what became of them back into their status."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from isthmus.config.policy import POLICY, PolicyRef, PolicyRefused, PolicyStatus
from isthmus.config.status import StatusWriter
from isthmus.config.watching import ConfigWatch
from isthmus.kube.client import Client
from isthmus.lib.lifecycle import task_scope
from isthmus.policy.rulebook import Rulebook

POLICIES = POLICY.source


class PolicyWatch:
    """Keeps a rulebook as the API server has it; `changed` is called after each change."""

    def __init__(self, client: Client, rulebook: Rulebook, changed: Callable[[], None]) -> None:
        self._rulebook = rulebook
        self._changed = changed
        self._watch = ConfigWatch(client, POLICIES, self)
        self._status = StatusWriter(client, POLICIES)

    @property
    def settled(self) -> asyncio.Event:
        """Set once all policies were read, or the API server said that it knows none such."""
        return self._watch.settled

    async def run(self) -> NoReturn:
        """Until cancelled."""
        async with task_scope() as tasks:
            tasks.serve(self._status.run(), name="policy status")
            await self._watch.run()
        raise AssertionError("a watch never ends by itself")

    def apply(self, ref: PolicyRef, found: Mapping[str, Any]) -> PolicyRefused | None:
        """Take a new version of an object, and have its status written where it says something else."""
        refusal = self._rulebook.apply(found).refusal
        status = PolicyStatus(
            accepted=refusal is None,
            observed_generation=found["metadata"].get("generation", 0),
            reason="" if refusal is None else f"{refusal.field}: {refusal.reason}",
        )
        self._changed()
        if found.get("status") != _plain(status):
            self._status.want(ref, _plain(status))
        return refusal

    def remove(self, ref: PolicyRef) -> None:
        """The object is gone."""
        self._rulebook.remove(ref)
        self._status.forget(ref)
        self._changed()


def _plain(status: PolicyStatus) -> dict[str, Any]:
    return {
        "accepted": status.accepted,
        "observedGeneration": status.observed_generation,
        "reason": status.reason,
    }
