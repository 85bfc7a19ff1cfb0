"""All controllers of one cluster, wired to one set of watches."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from isthmus.kube.access import Access
from isthmus.kube.client import running_client
from isthmus.lab.controllers.cache import running_caches
from isthmus.lab.controllers.cronjobs import CronJobs
from isthmus.lab.controllers.daemonsets import DaemonSets
from isthmus.lab.controllers.deployments import Deployments
from isthmus.lab.controllers.garbage import Garbage
from isthmus.lab.controllers.jobs import Jobs
from isthmus.lab.controllers.mirroring import Mirroring
from isthmus.lab.controllers.namespaces import Namespaces
from isthmus.lab.controllers.objects import Key
from isthmus.lab.controllers.queue import WorkQueue, serve_queue
from isthmus.lab.controllers.replicasets import ReplicaSets
from isthmus.lab.controllers.services import Services
from isthmus.lab.controllers.statefulsets import StatefulSets
from isthmus.lib.lifecycle import task_scope

Reconcile = Callable[[Key], Awaitable[None]]


@asynccontextmanager
async def running_controllers(access: Access) -> AsyncGenerator[None]:
    """Every controller with a queue and a task of its own, from when everything has been listed."""
    ca_pem = (access.ca_pem or b"").decode()
    async with running_client(access) as client, running_caches(client) as caches, task_scope() as scope:

        def start(name: str, make: Callable[[WorkQueue], Reconcile]) -> None:
            queue = WorkQueue()
            scope.serve(serve_queue(name, queue, make(queue)), name=name)

        start("namespaces", lambda queue: Namespaces(client, caches, queue, ca_pem).reconcile)
        start("deployments", lambda queue: Deployments(client, caches, queue).reconcile)
        start("replicasets", lambda queue: ReplicaSets(client, caches, queue).reconcile)
        start("statefulsets", lambda queue: StatefulSets(client, caches, queue).reconcile)
        start("daemonsets", lambda queue: DaemonSets(client, caches, queue).reconcile)
        start("cronjobs", lambda queue: CronJobs(client, caches, queue).reconcile)
        start("jobs", lambda queue: Jobs(client, caches, queue).reconcile)
        start("services", lambda queue: Services(client, caches, queue).reconcile)
        start("mirroring", lambda queue: Mirroring(client, caches, queue).reconcile)
        start("garbage", lambda queue: Garbage(client, caches, queue).reconcile)
        yield
