"""`python -m bench.api FOLDER`: a small API server in memory, so that `make bench` needs no cluster.

Once it serves, it has written FOLDER/kubeconfig, whose path is the first line on standard output.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import uvloop
from tests.kube.fake_api import running_fake_api

from isthmus.kube.kinds import CONFIG_MAP, ENDPOINT_SLICE, NAMESPACE, NODE, POD, SECRET, SERVICE, untyped
from isthmus.lib.lifecycle import stop_signal

_EVENTS = untyped("", "v1", "events", "Event")


async def _serve(folder: Path) -> None:
    stop = stop_signal()
    kinds = (CONFIG_MAP, ENDPOINT_SLICE, NAMESPACE, NODE, POD, SECRET, SERVICE, _EVENTS)
    async with running_fake_api(*kinds) as api:
        api.put(NAMESPACE, {"metadata": {"name": "kube-system"}})
        config: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bench",
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
            "clusters": [{"name": "bench", "cluster": {"server": api.access.server}}],
            "users": [{"name": "bench", "user": {}}],
        }
        file = folder / "kubeconfig"
        file.write_text(json.dumps(config))
        print(file, flush=True)
        await asyncio.shield(stop.wait())


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1])))
