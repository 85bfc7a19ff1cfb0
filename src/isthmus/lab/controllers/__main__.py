"""`python -m isthmus.lab.controllers CLUSTER_DIR`: the controllers of one cluster, as one process."""

import asyncio
import sys
from pathlib import Path

from isthmus.kube.access import access_from_file
from isthmus.kube.client import Client, running_client
from isthmus.lab.controllers.cache import Caches, running_caches
from isthmus.lab.controllers.deployments import Deployments
from isthmus.lab.controllers.garbage import Garbage
from isthmus.lab.controllers.mirroring import Mirroring
from isthmus.lab.controllers.namespaces import Namespaces
from isthmus.lab.controllers.queue import WorkQueue, serve_queue
from isthmus.lab.controllers.replicasets import ReplicaSets
from isthmus.lab.controllers.services import Services
from isthmus.lib.lifecycle import TaskScope, stop_signal, task_scope
from isthmus.lib.log import configure_logging


def start_controllers(scope: TaskScope, client: Client, caches: Caches, ca_pem: str) -> None:
    """Every controller with a queue and a task of its own."""
    namespaces, deployments, replica_sets, services, mirroring, garbage = (WorkQueue() for _ in range(6))
    work = {
        "namespaces": (namespaces, Namespaces(client, caches, namespaces, ca_pem).reconcile),
        "deployments": (deployments, Deployments(client, caches, deployments).reconcile),
        "replicasets": (replica_sets, ReplicaSets(client, caches, replica_sets).reconcile),
        "services": (services, Services(client, caches, services).reconcile),
        "mirroring": (mirroring, Mirroring(client, caches, mirroring).reconcile),
        "garbage": (garbage, Garbage(client, caches, garbage).reconcile),
    }
    for name, (queue, reconcile) in work.items():
        scope.serve(serve_queue(name, queue, reconcile), name=name)


async def run(directory: Path) -> None:
    """Run until SIGTERM; `run/controllers.ready` appears once everything has been listed."""
    stop = stop_signal()
    access = access_from_file(directory / "controllers.kubeconfig")
    ca_pem = (access.ca_pem or b"").decode()
    async with (
        running_client(access) as client,
        running_caches(client) as caches,
        task_scope() as scope,
    ):
        start_controllers(scope, client, caches, ca_pem)
        (directory / "run" / "controllers.ready").touch()
        await stop.wait()


if __name__ == "__main__":
    configure_logging()
    asyncio.run(run(Path(sys.argv[1])))
