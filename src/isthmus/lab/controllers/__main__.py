"""`python -m isthmus.lab.controllers CLUSTER_DIR`: the controllers of one cluster, until SIGTERM."""

import asyncio
import sys
from pathlib import Path

from isthmus.kube.access import access_from_file
from isthmus.lab.controllers.wiring import running_controllers
from isthmus.lib.lifecycle import stop_signal
from isthmus.lib.log import configure_logging


async def run(directory: Path) -> None:
    """Run until SIGTERM; `run/controllers.ready` appears once everything has been listed."""
    stop = stop_signal()
    async with running_controllers(access_from_file(directory / "controllers.kubeconfig")):
        (directory / "run" / "controllers.ready").touch()
        await stop.wait()


def main() -> int:
    """Exit code 2 where the one argument is missing."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m isthmus.lab.controllers CLUSTER_DIR\n")
        return 2
    configure_logging()
    asyncio.run(run(Path(sys.argv[1])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
