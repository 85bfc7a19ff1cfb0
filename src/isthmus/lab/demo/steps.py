"""The demonstration's steps: each changes one thing through the Kubernetes API, and waits for the answers."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from isthmus.lab.apply import apply, kind_named, remove
from isthmus.lab.controllers.objects import Object, is_ready, is_terminating, key_of
from isthmus.lab.demo.deploy import SYSTEM, LabCluster, complete, enter_client, until
from isthmus.lab.demo.observe import Answer, Observed
from isthmus.lab.demo.workloads import DEMO, ECHO_URL, make
from isthmus.lab.reference import PodReference
from isthmus.lab.up import Say

SAMPLE = 200


class Step(msgspec.Struct, frozen=True):
    """What one step showed. `answers` are counted by pod, after the change has come about.

    `ms` is from just before the change is sent to the API server until the answers show it; where nothing
    was changed, how long asking took. `failed` counts requests without a proper answer.
    """

    step: str
    answers: dict[str, int]
    ms: float
    failed: int


@dataclass(slots=True)
class Stage:
    """Two clusters, the client's view of them, and what was seen so far."""

    primary: LabCluster
    remote: LabCluster
    observed: Observed
    say: Say
    steps: list[Step] = field(default_factory=list[Step])
    secret: Object = field(default_factory=Object)
    """The remote's Secret, once a step took it away."""
    _failures: int = 0

    async def record(self, name: str, text: str, ms: float) -> None:
        """Count the next answers, and put the step on record."""
        answers = await self.observed.sample(SAMPLE)
        failures = self.observed.failures()[self._failures :]
        self._failures += len(failures)
        self.keep(Step(name, answers, round(ms, 1), len(failures)), text)
        for failure in failures:
            self.say(f"    failed: {failure.failed}")

    def keep(self, step: Step, text: str) -> None:
        """Put a step on record, and say what it showed."""
        self.steps.append(step)
        self.say(f"{text} Failed requests: {step.failed}.")
        for who, count in step.answers.items():
            self.say(f"    {count:4d}  {who}")


async def count_answers(stage: Stage) -> None:
    """Once every pod of `echo` has answered, count what curl hears."""
    for cluster in (stage.primary, stage.remote):
        for who in await pods_of(cluster):
            await stage.observed.first(_is_from_pod(who), 0.0)
    start = time.monotonic()
    answers = await _ask_with_curl(stage.primary)
    ms = (time.monotonic() - start) * 1000
    failed = SAMPLE - answers.total()
    step = Step("answers counted", dict(sorted(answers.items())), round(ms, 1), failed)
    stage.keep(step, f"curl in the client pod asked {SAMPLE} times, which took {ms:.0f} ms.")


async def add_pod(stage: Stage) -> None:
    """One more pod in the remote, until its first answer. Starting it is part of the time."""
    remote, before = stage.remote, await pods_of(stage.remote)
    start = time.monotonic()
    await scale(remote, len(before) + 1)
    await until(remote, "Pod", DEMO, _is_new(remote, before), what="A further pod", selector="app=echo")
    ready = time.monotonic()
    first = await stage.observed.first(
        lambda answer: answer.cluster == remote.name and answer.who not in before, start
    )
    ms, after = (first.at - start) * 1000, (first.at - ready) * 1000
    await complete(remote, "echo")
    text = f"A pod was added in {remote.name}: it was ready after {ms - after:.0f} ms, and"
    text += f" {after:.0f} ms later" if after >= 0 else f" {-after:.0f} ms before we saw that"
    await stage.record("pod added", f"{text} came its first answer.", ms)


async def kill_pod(stage: Stage) -> None:
    """One pod of the remote is killed without grace, until all answers come from others."""
    remote, victim = stage.remote, sorted(await pods_of(stage.remote))[0]
    start = time.monotonic()
    await remote.client.delete(kind_named("Pod"), victim.rpartition("/")[2], DEMO, grace_seconds=0)
    ms = _milliseconds(start, await stage.observed.without(_is_from_pod(victim), start))
    text = f"Pod {victim} was killed: {ms:.1f} ms after the order, all answers came from others."
    await complete(remote, "echo")
    await stage.record("pod killed", text, ms)


async def delete_secret(stage: Stage) -> None:
    """The remote's Secret is deleted, until all answers come from elsewhere."""
    name = stage.remote.name
    stage.secret = await stage.primary.client.get(kind_named("Secret"), name, SYSTEM)
    start = time.monotonic()
    await remove(stage.primary.client, "Secret", name, SYSTEM)
    other = await stage.observed.without(lambda answer: answer.cluster == name, start)
    ms = _milliseconds(start, other)
    text = (
        f"The Secret of {name} was deleted: {ms:.1f} ms later, all answers came from {stage.primary.name} "
        "(it counts for a second more, in case it is made anew)."
    )
    await stage.record("secret deleted", text, ms)


async def put_secret_back(stage: Stage) -> None:
    """The Secret comes back as it was, until the first answer from the remote."""
    name, head = stage.remote.name, stage.secret["metadata"]
    metadata = {part: head[part] for part in ("labels", "annotations")}
    secret = make("v1", "Secret", name, SYSTEM, metadata=metadata, data=stage.secret["data"])
    start = time.monotonic()
    await apply(stage.primary.client, [secret])
    ms = _milliseconds(start, await stage.observed.first(lambda answer: answer.cluster == name, start))
    text = f"The Secret of {name} was put back: its first answer came {ms:.1f} ms later."
    await stage.record("secret put back", text, ms)


STEPS: tuple[Callable[[Stage], Awaitable[None]], ...] = (
    count_answers,
    add_pod,
    kill_pod,
    delete_secret,
    put_secret_back,
)


async def _ask_with_curl(primary: LabCluster) -> Counter[str]:
    enter = await enter_client(primary, ["curl", "-s", f"{ECHO_URL}?[1-{SAMPLE}]"])
    curl = await asyncio.create_subprocess_exec(*enter.argv, env=enter.env, stdout=asyncio.subprocess.PIPE)
    said, _ = await curl.communicate()
    answers = Counter[str]()
    for line in said.splitlines():
        try:
            answers[name_of(json.loads(line))] += 1
        except (ValueError, KeyError):
            continue
    return answers


def name_of(said: dict[str, str]) -> str:
    """Who gave an answer, as `CLUSTER/NAMESPACE/POD`."""
    return str(PodReference(said["cluster"], said["namespace"], said["pod"]))


async def scale(cluster: LabCluster, replicas: int) -> None:
    """Ask for that many pods of `echo`."""
    await cluster.client.patch(kind_named("Deployment"), "echo", {"spec": {"replicas": replicas}}, DEMO)


async def pods_of(cluster: LabCluster) -> set[str]:
    """The pods of `echo` in a cluster that are ready and stay, as answers name them."""
    pods = (await cluster.client.list(kind_named("Pod"), DEMO, label_selector="app=echo")).items
    return {_name(cluster, pod) for pod in pods if is_ready(pod) and not is_terminating(pod)}


def _name(cluster: LabCluster, pod: Object) -> str:
    return str(PodReference(cluster.name, DEMO, key_of(pod).name))


def _is_new(cluster: LabCluster, known: set[str]) -> Callable[[Object], bool]:
    return lambda pod: is_ready(pod) and _name(cluster, pod) not in known


def _is_from_pod(who: str) -> Callable[[Answer], bool]:
    return lambda answer: answer.who == who


def _milliseconds(start: float, answer: Answer) -> float:
    return (answer.at - start) * 1000
