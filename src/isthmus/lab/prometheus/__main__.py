"""`python -m isthmus.lab.prometheus PROGRAM`: follows the pods of all clusters, and runs Prometheus on them.

It runs in the hub, from where it reaches every cluster, and ends with Prometheus.
"""

import asyncio
import json
import sys
from pathlib import Path

import yaml

from isthmus.kube.access import access_from_file
from isthmus.kube.client import running_client
from isthmus.kube.watch import Event, Removed, Upserted, watch_kind
from isthmus.lab.apply import kind_named
from isthmus.lab.controllers.objects import Key, Object, key_of
from isthmus.lab.plan import ClusterPlan
from isthmus.lab.prometheus.scraping import configuration, target_groups
from isthmus.lab.prometheus.starting import FOLDER, PORT
from isthmus.lab.up import running_lab
from isthmus.lib.lifecycle import task_scope


class _Targets:
    """The pods of all clusters, and the file that Prometheus reads as it changes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._pods: dict[tuple[str, Key], Object] = {}
        self._written = ""
        self._write()

    def take(self, cluster: str, event: Event[Object]) -> None:
        match event:
            case Upserted(pod):
                self._pods[cluster, key_of(pod)] = pod
            case Removed(pod):
                self._pods.pop((cluster, key_of(pod)), None)
            case _:
                return
        self._write()

    def _write(self) -> None:
        text = json.dumps(target_groups((cluster, pod) for (cluster, _), pod in self._pods.items()))
        if text != self._written:
            fresh = self._file.with_suffix(".new")
            fresh.write_text(text)
            fresh.replace(self._file)
            self._written = text


async def _follow(plan: ClusterPlan, targets: _Targets) -> None:
    async with running_client(access_from_file(plan.kubeconfig)) as client:
        await watch_kind(client, kind_named("Pod"), lambda event: targets.take(plan.name, event))


async def _run(program: str) -> int:
    file = FOLDER / "targets.json"
    targets = _Targets(file)
    config = FOLDER / "prometheus.yml"
    config.write_text(yaml.safe_dump(configuration(file), sort_keys=False))
    async with task_scope() as tasks:
        for plan in running_lab():
            tasks.serve(_follow(plan, targets), name=f"pods of {plan.name}")
        process = await asyncio.create_subprocess_exec(
            *(program, f"--config.file={config}", f"--web.listen-address=:{PORT}"),
            *(f"--storage.tsdb.path={FOLDER / 'data'}", "--storage.tsdb.retention.size=64MB"),
        )
        return await process.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(_run(sys.argv[1])))
