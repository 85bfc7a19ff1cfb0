"""`python -m isthmus.lab.node CLUSTER_DIR`: runs a cluster's node until SIGTERM."""

import asyncio
import sys
from pathlib import Path

import structlog
import uvloop

from isthmus.lab.node.agent import running_node
from isthmus.lab.plan import ClusterPlan
from isthmus.lab.plan_file import read_plan
from isthmus.lib.errors import UserError
from isthmus.lib.lifecycle import stop_signal
from isthmus.lib.log import configure_logging


async def _run(plan: ClusterPlan) -> None:
    stop = stop_signal()
    ready = plan.directory / "run" / "node.ready"
    ready.parent.mkdir(parents=True, exist_ok=True)
    structlog.contextvars.bind_contextvars(cluster=plan.name)
    async with running_node(plan):
        ready.touch()
        structlog.get_logger().info("node ready")
        try:
            await stop.wait()
        finally:
            ready.unlink(missing_ok=True)


def main() -> None:
    """Read the plan, run the node."""
    configure_logging()
    if len(sys.argv) != 2:
        sys.exit("usage: python -m isthmus.lab.node CLUSTER_DIR")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(read_plan(Path(sys.argv[1]))))
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
