"""Two replicas renew tokens one at a time, also when the one that does so is killed or suspended."""

import base64
import os
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from isthmus.clusters.renewal import LEASE as LEASE_NAME
from isthmus.kube.kinds import LEASE, SECRET
from isthmus.kube.objects import Lease, Secret
from isthmus.kube.secret_kubeconfig import access_from_secret
from isthmus.kube.watch import Event, Upserted, watch_kind
from isthmus.lib.lifecycle import task_scope
from tests.operate.desk import Desk, at_desk
from tests.scenarios.mesh import SECRETS, Pilot, eventually, running_pilot
from tests.support.tokens import claims_of, grown_old

CONTROL = "istio-system"
HOUR = 3600
DUE = 18 * HOUR
"""Age at which every token of a day is due."""


@dataclass
class Credential:
    """The Secret of *east*, and the end of every token that it ever held, in order."""

    desk: Desk
    ends: list[object] = field(default_factory=list[object])
    current: bytes = b""

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[None]:
        def deliver(event: Event[Secret]) -> None:
            if isinstance(event, Upserted):
                self.current = event.object.data["east"]
                self.ends.append(claims_of(access_from_secret(self.current))["exp"])

        async with task_scope() as scope:
            watch = watch_kind(
                self.desk.mesh.west.api,
                SECRET,
                deliver,
                namespace=CONTROL,
                field_selector="metadata.name=east",
            )
            scope.serve(watch, name="watch the Secret")
            await eventually(lambda: self.ends)
            yield

    async def grow_old(self) -> None:
        """It is as it would be most of a day after it was issued."""
        signer = self.desk.east.cluster.signer
        old = grown_old("east", self.current, signer, age=DUE, left=24 * HOUR - DUE)
        data = {"data": {"east": base64.b64encode(old).decode()}}
        await self.desk.mesh.west.api.patch(SECRETS, "east", data, CONTROL)

    async def renewed(self, times: int) -> None:
        """It was renewed so often, each time after it had grown old; and no more often than that."""
        await eventually(lambda: len(self.ends) >= 1 + 2 * times)
        assert len(self.ends) == 1 + 2 * times


def said(pilot: Pilot, event: str) -> int:
    return sum(line["event"] == event for line in pilot.log)


async def lease(desk: Desk) -> Lease:
    return await desk.mesh.west.api.get(LEASE, LEASE_NAME, CONTROL)


@pytest.mark.parametrize(
    "blow", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.soak)], ids=lambda blow: blow.name
)
async def test_the_leader_is_lost_and_the_other_replica_renews_once_and_alone(
    blow: signal.Signals, tmp_path: Path
) -> None:
    async with at_desk(tmp_path) as desk, AsyncExitStack() as replicas:
        await desk.add()
        credential = Credential(desk)
        await replicas.enter_async_context(credential.watched())
        pilots = [
            await replicas.enter_async_context(running_pilot(desk.mesh.west.server, tmp_path))
            for _ in range(2)
        ]
        for pilot in pilots:
            await pilot.cluster("east", lambda row: row["state"] == "fresh")
        await credential.grow_old()
        await credential.renewed(1)
        leader = next(each for each in pilots if said(each, "leading"))
        (other,) = (each for each in pilots if each is not leader)
        assert said(other, "leading") == 0
        before = await lease(desk)

        leader.process.send_signal(blow)
        lost = time.monotonic()
        try:
            await credential.grow_old()
            await eventually(lambda: said(other, "leading"))
            # Not before the Lease ran out, as the other saw it renewed: 15 s, less its last look and ours.
            assert time.monotonic() - lost > 15 - 7
            await credential.renewed(2)
            after = await lease(desk)
            assert after.spec.holder_identity not in ("", before.spec.holder_identity)
            assert after.spec.lease_transitions == before.spec.lease_transitions + 1
        finally:
            if blow is signal.SIGSTOP:
                os.kill(leader.process.pid, signal.SIGCONT)
        alive = [other]
        if blow is signal.SIGSTOP:
            # It wakes up, believes that it leads, and learns better.
            alive.append(leader)
            await eventually(lambda: said(leader, "leading no more"))
            await credential.grow_old()
            await credential.renewed(3)
            assert (await lease(desk)).spec.holder_identity == after.spec.holder_identity
            assert said(leader, "token renewed") == 1
        for pilot in alive:
            await pilot.cluster("east", lambda row: row["state"] == "fresh" and not row["remarks"])
        assert said(other, "token renewed") == len(credential.ends) // 2 - 1
