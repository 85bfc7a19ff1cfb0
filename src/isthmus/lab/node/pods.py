"""One pod, from being bound to this node until its object is gone: sandbox, volumes, containers, the end.

Source: Kubernetes "Pod Lifecycle", KEP-753 (sidecar containers). Each pod is one task, which owns all that it
knows of the pod; the node tells it what has changed by `update`, `removed` and `configs_changed`.
"""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.objects import Service
from isthmus.lab.node.admission import refusal
from isthmus.lab.node.configs import ConfigName, Configs
from isthmus.lab.node.containers import ContainerRun
from isthmus.lab.node.ending import Ending
from isthmus.lab.node.enter import state_folder
from isthmus.lab.node.environment import ConfigMissingError, Placement
from isthmus.lab.node.events import Events
from isthmus.lab.node.launching import PodPlace, lookup_in
from isthmus.lab.node.podspec import Container, Pod, is_sidecar
from isthmus.lab.node.publishing import Conditions, StatusPublisher, remove_object, status_writer
from isthmus.lab.node.pulse import Pulse
from isthmus.lab.node.records import ContainerRecord, Waiting
from isthmus.lab.node.sandbox import PodAddresses, Sandbox, SandboxError, running_sandbox
from isthmus.lab.node.status import PodState, derive_status
from isthmus.lab.node.tokens import token_requester
from isthmus.lab.node.volumes import PodVolumes, configs_used
from isthmus.lab.plan import ClusterPlan
from isthmus.lib.backoff import Backoff
from isthmus.lib.lifecycle import TaskScope, task_scope

_CONFIG_RETRY = 5.0


@dataclass(frozen=True, slots=True)
class NodeParts:
    """What every pod of the node uses."""

    plan: ClusterPlan
    client: Client
    events: Events
    configs: Configs
    services: Callable[[], Sequence[Service]]
    addresses: PodAddresses
    capacity: dict[str, str]


class PodRun:
    """Runs one pod, known by its UID."""

    def __init__(self, node: NodeParts, pod: Pod) -> None:
        self.pod = pod
        self._node = node
        self._init = [_record(container, pod) for container in pod.spec.init_containers]
        self._main = [_record(container, pod) for container in pod.spec.containers]
        self._refused = refusal(pod) or ""
        self._runs: dict[str, ContainerRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._address = ""
        self._began = datetime.now(UTC)
        self._ending = Ending(self._kill_all)
        self._gone = False
        self._place: PodPlace | None = None
        self._configs_changed = Pulse()
        self._volumes_stale = asyncio.Event()
        known = {each.type: (each.status, each.last_transition_time) for each in pod.status.conditions}
        self._publisher = StatusPublisher(status_writer(node.client, pod), self._status, known)
        self.update(pod)

    def update(self, pod: Pod) -> None:
        """Take a newer version of the Pod; a deletion, or a more urgent one than before, takes effect."""
        self.pod = pod
        if self._place is not None:
            self._place.pod = pod
        if pod.metadata.deletion_timestamp:
            self._ending.within(pod.metadata.deletion_grace_period_seconds)
        self._publisher.wake()

    def removed(self) -> None:
        """The Pod's object is gone: end at once, there is nobody left to tell."""
        self._gone = True
        self._publisher.abandon()
        self._ending.within(0)

    def configs_changed(self, name: ConfigName) -> None:
        """A ConfigMap or Secret changed."""
        if name in configs_used(self.pod):
            self._volumes_stale.set()
            self._configs_changed.fire()

    def container(self, name: str) -> ContainerRun | None:
        """The run of a container, None where it has not come to that."""
        return self._runs.get(name)

    @property
    def sandbox(self) -> Sandbox | None:
        """Its network, None where there is none now."""
        return self._place.sandbox if self._place is not None else None

    async def run(self) -> None:
        """Run the pod to its end, and remove its object once that is asked for."""
        structlog.contextvars.bind_contextvars(pod=self.pod.ref)
        async with task_scope() as scope:
            if self.pod.status.phase not in ("Succeeded", "Failed"):  # an earlier run of the node saw its end
                scope.serve(self._publisher.serve(), name="status")
                if not self._refused:
                    await self._live()
                if not self._gone:
                    await self._publisher.flush()
            await self._ending.begun.wait()
            if not self._gone:
                await remove_object(self._node.client, self.pod)
        shutil.rmtree(self._log_folder, ignore_errors=True)

    async def _live(self) -> None:
        backoff = Backoff(initial=0.5, cap=10.0)
        while not self._ending.begun.is_set():
            try:
                async with self._running_place() as place:
                    await self._run_containers(place)
                return
            except SandboxError as error:
                message = f"Failed to create pod sandbox: {error}"
                self._node.events.tell(self.pod, "FailedCreatePodSandBox", message, warning=True)
                await asyncio.sleep(backoff.next_delay())

    @asynccontextmanager
    async def _running_place(self) -> AsyncGenerator[PodPlace]:
        node, meta = self._node, self.pod.metadata
        folder = state_folder(node.plan.directory, meta.namespace, meta.name, meta.uid)
        async with running_sandbox(node.plan, meta.uid, node.addresses) as sandbox:
            self._address = str(sandbox.address)
            self._publisher.wake()
            placement = Placement(
                self._address, str(node.plan.node_address), node.plan.node_name, node.capacity
            )
            lookup, tokens = lookup_in(node.configs, self.pod), token_requester(node.client, self.pod)
            self._place = PodPlace(
                plan=node.plan,
                pod=self.pod,
                placement=placement,
                sandbox=sandbox,
                volumes=PodVolumes(self.pod, folder / "volumes", placement, lookup, tokens),
                configs=node.configs,
                services=node.services,
                events=node.events,
                folder=folder,
                log_folder=self._log_folder,
                changed=self._publisher.wake,
                configs_changed=self._configs_changed,
            )
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            names = [
                container.name for container in (*self.pod.spec.containers, *self.pod.spec.init_containers)
            ]
            (folder / "order").write_text("\n".join(names))
            try:
                yield self._place
            finally:
                self._place = None
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def _log_folder(self) -> Any:
        meta = self.pod.metadata
        return self._node.plan.directory / "pods" / f"{meta.namespace}_{meta.name}_{meta.uid}"

    async def _run_containers(self, place: PodPlace) -> None:
        """Run them until all have ended for good, or the pod is to end; then end what is left."""
        async with task_scope() as scope:
            working = scope.spawn(self._work(place, scope), name="containers")
            ending = scope.spawn(self._ending.begun.wait(), name="ending")
            await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
            working.cancel()
            self._publisher.wake()
            await self._stop_all()

    async def _work(self, place: PodPlace, scope: TaskScope) -> None:
        await self._fill_volumes(place)
        scope.serve(place.volumes.serve_renewal(self._volumes_stale, lambda: self.pod), name="volumes")
        for record in self._init:
            if is_sidecar(record.container):
                run = self._start(record, place, "Always", scope)
                await run.started.wait()
                continue
            policy = "Never" if self.pod.spec.restart_policy == "Never" else "OnFailure"
            run = self._start(record, place, policy, scope)
            await asyncio.wait({self._tasks[record.container.name]})
            if not record.succeeded:
                return
        for record in self._main:
            run = self._start(record, place, self.pod.spec.restart_policy, scope)
            if record.container.lifecycle.post_start is not None:
                await run.hooked.wait()  # as a kubelet, which starts containers one by one
        await asyncio.wait({self._tasks[record.container.name] for record in self._main})

    async def _fill_volumes(self, place: PodPlace) -> None:
        while True:
            changed = asyncio.ensure_future(self._configs_changed.wait())
            try:
                for name in configs_used(self.pod):
                    await self._node.configs.fetch(name)
                await place.volumes.fill(self.pod)
                return
            except (ConfigMissingError, ValueError, ApiError, Unreachable) as error:
                message = f"MountVolume.SetUp failed: {error}"
                self._node.events.tell(self.pod, "FailedMount", message, warning=True)
                await asyncio.wait({changed}, timeout=_CONFIG_RETRY)
            finally:
                changed.cancel()

    def _start(self, record: ContainerRecord, place: PodPlace, policy: str, scope: TaskScope) -> ContainerRun:
        name = record.container.name
        run = self._runs[name] = ContainerRun(record, place, policy)
        self._tasks[name] = scope.spawn(run.keep(), name=f"container {name}")
        return run

    async def _stop_all(self) -> None:
        """End the containers, those that stay beside them after them, in reverse order of their start."""
        if not self._ending.begun.is_set():
            self._ending.allow(self.pod.spec.termination_grace_period_seconds)
        await asyncio.gather(*(self._stop(record) for record in (*self._main, *_once(self._init))))
        for record in reversed([each for each in self._init if is_sidecar(each.container)]):
            await self._stop(record)

    async def _stop(self, record: ContainerRecord) -> None:
        run = self._runs.get(record.container.name)
        if run is None:
            return
        task = self._tasks[record.container.name]
        if run.process is not None:
            self._node.events.tell(
                self.pod,
                "Killing",
                f"Stopping container {record.container.name}",
                container=record.container.name,
            )
            await run.stop(self._ending.remaining())
        else:
            task.cancel()
        await asyncio.wait({task})

    def _kill_all(self) -> None:
        for run in self._runs.values():
            run.kill()

    def _status(self, earlier: Conditions) -> dict[str, Any]:
        state = PodState(
            init=self._init,
            main=self._main,
            address=self._address,
            node_address=str(self._node.plan.node_address),
            started=self._began,
            ending=self._ending.begun.is_set(),
            refused=self._refused,
        )
        return derive_status(self.pod, state, datetime.now(UTC), earlier)


def _once(records: Sequence[ContainerRecord]) -> Iterator[ContainerRecord]:
    return (record for record in records if not is_sidecar(record.container))


def _record(container: Container, pod: Pod) -> ContainerRecord:
    """A container not started yet; its restarts go on from what an earlier run of the node counted."""
    known = (*pod.status.container_statuses, *pod.status.init_container_statuses)
    restarts = next((s.restart_count + 1 for s in known if s.name == container.name and s.container_id), 0)
    reason = "PodInitializing" if pod.spec.init_containers and container in pod.spec.containers else ""
    return ContainerRecord(container, Waiting(reason or "ContainerCreating"), restarts=restarts)
