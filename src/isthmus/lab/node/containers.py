"""One container of a pod, from its first start to its last end: restarts, hooks, probes, termination.

Sources: Kubernetes "Pod Lifecycle" (restarts: at once, then after 10 s doubled up to 5 minutes; reset by ten
minutes of running), "Container Lifecycle Hooks", "Configure Probes". One thing is quicker than a kubelet: a
container that is not ready yet is asked more often than `periodSeconds`; such extra questions never count as
failures.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from isthmus.lab.images import ImageUnknownError, find_image
from isthmus.lab.node.checks import Target, Verdict, act
from isthmus.lab.node.commands import run_command
from isthmus.lab.node.environment import ConfigMissingError
from isthmus.lab.node.launching import PodPlace, launch_spec
from isthmus.lab.node.logs import LogFile
from isthmus.lab.node.podspec import Handler, Probe
from isthmus.lab.node.records import ContainerRecord, Running, State, Terminated, Waiting
from isthmus.lab.node.runtime import ContainerProcess, LaunchSpec, StartError, running_container
from isthmus.lib.lifecycle import TaskScope, task_scope

_RESET_AFTER = 600.0
_EAGER = 0.1
"""Seconds between questions to a container that has not been ready yet."""


class ContainerRun:
    """Runs one container; `restart_policy` is Always, OnFailure or Never. Its record is what others see."""

    def __init__(self, record: ContainerRecord, place: PodPlace, restart_policy: str) -> None:
        self.record = record
        self.started = asyncio.Event()
        self.hooked = asyncio.Event()
        """Its start hook has ended for the first time, well or badly, or the container has."""
        self.log: LogFile | None = None
        self.previous_log: LogFile | None = None
        self._place = place
        self._policy = restart_policy
        self.process: ContainerProcess | None = None
        """Its program, while that runs."""
        self._stopping = False

    async def keep(self) -> None:
        """Run it, again and again as its policy says; returns when it has ended for good."""
        failures = 0
        while True:
            ended = await self._run_once()
            self.hooked.set()
            if self._stopping or not restarts(self._policy, ended.exit_code):
                return
            if (ended.finished - ended.started).total_seconds() >= _RESET_AFTER:
                failures = 0
            if delay := restart_delay(failures):
                await self._back_off(delay, ended)
            failures += 1
            self.record.last = ended
            self.record.restarts += 1

    async def stop(self, grace: float) -> None:
        """End its program, if it runs, within `grace` seconds; `keep` then returns. It starts no more."""
        self._stopping = True
        if self.process is not None:
            await self._end(self.process, grace)

    def kill(self) -> None:
        """End its program at once."""
        if self.process is not None:
            self.process.kill()

    async def _run_once(self) -> Terminated:
        spec = await self._prepare()
        record, began = self.record, datetime.now(UTC)
        record.container_id = f"isthmus://{uuid.uuid4().hex}{uuid.uuid4().hex}"
        self.previous_log, self.log = self.log, self._place.open_log(record.container.name, record.restarts)
        try:
            async with self._process_of(spec, self.log) as process:
                began = process.started
                async with task_scope() as scope:
                    scope.spawn(self._attend(process, scope), name=f"attend {record.container.name}")
                    exit_ = await process.exited()
            reason = "Completed" if exit_.code == 0 else "Error"
            ended = self._terminated(began, exit_.code, reason, signal=exit_.signal)
        except StartError as error:
            self._tell("Failed", f"Error: {error}", warning=True)
            ended = self._terminated(began, 128, "StartError", message=str(error))
        self._set(ended)
        return ended

    @asynccontextmanager
    async def _process_of(self, spec: LaunchSpec, log: LogFile) -> AsyncGenerator[ContainerProcess]:
        container, record = self.record.container, self.record
        state_file = self._place.folder / f"{container.name}.json"
        try:
            async with running_container(spec, self._place.sandbox.netns, state_file, log) as process:
                self.process = process
                record.started = container.startup_probe is None and container.lifecycle.post_start is None
                record.ready = record.started and container.readiness_probe is None
                self._set(Running(process.started))
                self._tell("Started", f"Started container {container.name}")
                yield process
        finally:
            self.process = None
            record.started = record.ready = False

    async def _prepare(self) -> LaunchSpec:
        """Wait until all is there that it needs, and say meanwhile what is missing."""
        while True:
            container = self.record.container
            try:
                return launch_spec(self._place, container, find_image(container.image))
            except ImageUnknownError as error:
                self._wait_for("ErrImagePull", str(error))
            except (ConfigMissingError, ValueError, KeyError) as error:
                self._wait_for("CreateContainerConfigError", str(error))
            await self._place.configs_changed.wait()

    async def _back_off(self, delay: float, ended: Terminated) -> None:
        self.record.last = ended
        name, pod = self.record.container.name, self._place.pod
        message = f"back-off {delay:g}s restarting failed container={name} pod={pod.metadata.name}"
        self._set(Waiting("CrashLoopBackOff", message))
        self._tell("BackOff", f"Back-off restarting failed container {name} in pod {pod.ref}", warning=True)
        await asyncio.sleep(delay)

    async def _attend(self, process: ContainerProcess, scope: TaskScope) -> None:
        """Run the start hook, then the probes, in Kubernetes' order, until the container ends."""
        container, record = self.record.container, self.record
        if container.lifecycle.post_start is not None:
            error = await act(container.lifecycle.post_start, self._target(process), None)
            self.hooked.set()
            if error is not None:
                await self._fail(process, "FailedPostStartHook", f"PostStartHook failed: {error}")
                return
        if container.startup_probe is not None and not await self._starts_up(
            process, container.startup_probe
        ):
            return
        record.started = True
        record.ready = container.readiness_probe is None
        self._place.changed()
        self.started.set()
        if container.readiness_probe is not None:
            scope.spawn(self._watch_readiness(process, container.readiness_probe), name="readiness")
        if container.liveness_probe is not None:
            scope.spawn(self._watch_liveness(process, container.liveness_probe), name="liveness")

    async def _starts_up(self, process: ContainerProcess, probe: Probe) -> bool:
        verdict = Verdict(probe, passing=False)
        async for error in self._ask(process, probe, verdict):
            if error is None and verdict.count(True):
                return True
            if error is not None:
                self._tell("Unhealthy", f"Startup probe failed: {error}", warning=True)
                if verdict.count(False):
                    break
        await self._fail(process, "Killing", "failed startup probe, will be restarted")
        return False

    async def _watch_readiness(self, process: ContainerProcess, probe: Probe) -> None:
        verdict = Verdict(probe, passing=False)
        async for error in self._ask(process, probe, verdict):
            if error is not None:
                self._tell("Unhealthy", f"Readiness probe failed: {error}", warning=True)
            verdict.count(error is None)
            if self.record.ready != verdict.passing:
                self.record.ready = verdict.passing
                self._place.changed()

    async def _watch_liveness(self, process: ContainerProcess, probe: Probe) -> None:
        verdict = Verdict(probe, passing=True)
        async for error in self._ask(process, probe, verdict):
            if error is None or self._stopping:
                verdict.count(True)
                continue
            self._tell("Unhealthy", f"Liveness probe failed: {error}", warning=True)
            if verdict.count(False):
                break
        await self._fail(process, "Killing", "failed liveness probe, will be restarted")

    async def _ask(
        self, process: ContainerProcess, probe: Probe, verdict: Verdict
    ) -> AsyncGenerator[str | None]:
        """Answers of a probe as they are to be counted, for ever: None, or why it failed."""
        await asyncio.sleep(probe.initial_delay_seconds)
        loop, target = asyncio.get_running_loop(), self._target(process)
        while True:
            due = loop.time() + probe.period_seconds
            error = await act(probe, target, probe.timeout_seconds)
            while (
                error is not None
                and not verdict.passing
                and probe.exec is None
                and loop.time() + _EAGER < due
            ):
                await asyncio.sleep(_EAGER)
                error = await act(probe, target, probe.timeout_seconds)
            yield error
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _fail(self, process: ContainerProcess, reason: str, message: str) -> None:
        self._tell(reason, f"Container {self.record.container.name} {message}", warning=reason != "Killing")
        await self._end(process, self._place.pod.spec.termination_grace_period_seconds)

    async def _end(self, process: ContainerProcess, grace: float) -> None:
        """The end hook, SIGTERM, and SIGKILL when the grace is over."""
        timer = asyncio.get_running_loop().call_later(grace, process.kill)
        try:
            hook = self.record.container.lifecycle.pre_stop
            if hook is not None and process.running:
                await self._run_end_hook(process, hook)
            process.terminate()
            await process.exited()
        finally:
            timer.cancel()

    async def _run_end_hook(self, process: ContainerProcess, hook: Handler) -> None:
        async with task_scope() as scope:
            acting = scope.spawn(act(hook, self._target(process), None), name="end hook")
            ending = scope.spawn(process.exited(), name="end")
            await asyncio.wait({acting, ending}, return_when=asyncio.FIRST_COMPLETED)
            if acting.done() and (error := acting.result()) is not None:
                self._tell("FailedPreStopHook", f"PreStopHook failed: {error}", warning=True)

    def _target(self, process: ContainerProcess) -> Target:
        address = str(self._place.sandbox.address)
        return Target(self.record.container, address, lambda command: run_command(process.state, command))

    def _terminated(
        self, began: datetime, code: int, reason: str, *, signal: int = 0, message: str = ""
    ) -> Terminated:
        id_ = self.record.container_id
        return Terminated(code, began, datetime.now(UTC), reason, id_, signal, message)

    def _wait_for(self, reason: str, message: str) -> None:
        self._tell("Failed", f"Error: {reason}: {message}", warning=True)
        self._set(Waiting(reason, message))

    def _set(self, state: State) -> None:
        self.record.state = state
        self._place.changed()

    def _tell(self, reason: str, message: str, *, warning: bool = False) -> None:
        name = self.record.container.name
        self._place.events.tell(self._place.pod, reason, message, warning=warning, container=name)


def restarts(policy: str, exit_code: int) -> bool:
    """Whether a container that ended so is started again."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def restart_delay(failures: int) -> float:
    """Seconds before the next start after so many restarts: at once, then 10 s, doubled up to 300."""
    return 0.0 if failures == 0 else min(300.0, 10.0 * 2.0 ** (failures - 1))
