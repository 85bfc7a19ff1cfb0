"""`python -m bench`: measure a control plane from outside; JSON on standard output, progress on standard
error.

Without `--xds` it brings up an API server in memory and `isthmus pilot` on it. With `--xds`, give the
kubeconfigs of the clusters that the control plane reads and the ids of its processes. `--sweep` measures how
cost grows, and draws `docs/plots`.
"""

import argparse
import asyncio
import json
import resource
import sys
import tempfile
from pathlib import Path

import uvloop

from bench.measure import compare
from bench.plan import Plan
from bench.sweep import sweep
from bench.targets import Mesh, given, running_pilot


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--xds", metavar="HOST:PORT", help="plain-text xDS of a running control plane")
    parser.add_argument(
        "--kubeconfig", type=Path, action="append", default=[], help="a cluster that it reads"
    )
    parser.add_argument(
        "--pid", type=int, action="append", default=[], help="a process of it, for CPU and memory"
    )
    parser.add_argument("--cluster", default="Kubernetes", help="CLUSTER_ID that proxies give")
    parser.add_argument("--services", type=int, default=500)
    parser.add_argument("--endpoints", type=int, default=10, help="per service and cluster")
    parser.add_argument("--proxies", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=100, help="how many proxies connect at the same time")
    parser.add_argument("--form", choices=("sotw", "delta"), default="sotw")
    parser.add_argument("--changes", type=int, default=15)
    parser.add_argument(
        "--tls", action="store_true", help="proxies that prove who they are, on 15012's terms"
    )
    parser.add_argument("--sweep", action="store_true", help="measure how cost grows; the long form")
    parser.add_argument("--storm", type=int, default=0, help="how many more connect at once in the end")
    return parser.parse_args()


async def _run(options: argparse.Namespace) -> None:
    mesh = Mesh(options.services, options.endpoints)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.xds:
            running = given(options.xds, options.pid, options.kubeconfig, mesh)
        else:
            proving = options.proxies + options.storm if options.tls else 0
            running = running_pilot(mesh, folder, proving=proving)
        async with running as target:
            plan = Plan(
                options.form,
                options.proxies,
                options.changes,
                options.cluster,
                options.at_once,
                storm=options.storm,
                tls=str(folder / "proxies") if options.tls else "",
            )
            result = await compare(target.xds, target.pids, plan, target.push, folder)
    print(json.dumps({"services": options.services, "endpoints": options.endpoints, **result}, indent=2))


def main() -> None:
    """See the module."""
    options = _arguments()
    if options.xds and not (options.kubeconfig and options.pid):
        sys.exit("--xds needs --kubeconfig and --pid: what to change, and whose cost to count.")
    if options.xds and options.tls:
        sys.exit("--tls is for the pilot that this brings up; leave --xds out.")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(sweep(options.changes) if options.sweep else _run(options))


if __name__ == "__main__":
    main()
