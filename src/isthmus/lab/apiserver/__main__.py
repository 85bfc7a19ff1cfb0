"""`python -m isthmus.lab.apiserver CLUSTER_DIR`: the API server of one lab cluster, until SIGTERM.

With KUBEBUILDER_ASSETS set, the real etcd and kube-apiserver of that folder in its place.
"""

import sys
from pathlib import Path

import structlog
import uvloop

from isthmus.lab.apiserver.server import running_api_server
from isthmus.lab.assets import find_assets
from isthmus.lab.pki import make_cluster_pki
from isthmus.lab.plan import API_PORT, ClusterPlan
from isthmus.lab.plan_file import read_plan
from isthmus.lab.real import serve_real_api_server
from isthmus.lib.errors import UserError
from isthmus.lib.lifecycle import stop_signal
from isthmus.lib.log import configure_logging

_log = structlog.get_logger()


async def serve(plan: ClusterPlan, directory: Path) -> None:
    """Serve the cluster's API at its planned address until SIGTERM or SIGINT."""
    make_cluster_pki(plan, directory)
    ready = directory / "run" / "apiserver.ready"
    assets = find_assets()
    if assets is not None:
        await serve_real_api_server(plan, directory, assets, ready)
        return
    stop = stop_signal()
    async with running_api_server(
        directory,
        name=plan.name,
        address=plan.node_address,
        port=API_PORT,
        service_cidr=plan.service_cidr,
    ) as server:
        ready.parent.mkdir(parents=True, exist_ok=True)
        ready.touch()
        _log.info("API server is serving", cluster=plan.name, url=server.url)
        try:
            await stop.wait()
        finally:
            ready.unlink(missing_ok=True)


def main() -> int:
    """Exit code 2 where the one argument is missing, 1 with a sentence where the real programs fail."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m isthmus.lab.apiserver CLUSTER_DIR\n")
        return 2
    configure_logging()
    directory = Path(sys.argv[1])
    try:
        uvloop.run(serve(read_plan(directory), directory))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
