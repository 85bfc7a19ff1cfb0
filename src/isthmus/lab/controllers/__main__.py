"""`python -m isthmus.lab.controllers CLUSTER_DIR`: the controllers of one cluster, until SIGTERM.

With KUBEBUILDER_ASSETS set, the real kube-controller-manager of that folder in their place, if it has one.
"""

import asyncio
import sys
from pathlib import Path

from isthmus.kube.access import access_from_file
from isthmus.lab.assets import find_assets
from isthmus.lab.controllers.wiring import running_controllers
from isthmus.lab.plan_file import read_plan
from isthmus.lab.real import run_real_controllers
from isthmus.lib.errors import UserError
from isthmus.lib.lifecycle import stop_signal
from isthmus.lib.log import configure_logging


async def run(directory: Path) -> None:
    """Run until SIGTERM; `run/controllers.ready` appears once everything has been listed."""
    assets = find_assets()
    if assets is not None and assets.has_controller_manager:
        await run_real_controllers(read_plan(directory), directory, assets)
        return
    stop = stop_signal()
    # kube-apiserver's own roles give the controller manager's account too little to do this as one account.
    account = "controllers.kubeconfig" if assets is None else "kubeconfig"
    async with running_controllers(access_from_file(directory / account)):
        (directory / "run" / "controllers.ready").touch()
        await stop.wait()


def main() -> int:
    """Exit code 2 where the one argument is missing, 1 with a sentence where the real program fails."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m isthmus.lab.controllers CLUSTER_DIR\n")
        return 2
    configure_logging()
    try:
        asyncio.run(run(Path(sys.argv[1])))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
