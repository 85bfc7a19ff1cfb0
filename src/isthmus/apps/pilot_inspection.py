"""What `istioctl` is told over xDS (proxy-status, version, internal-debug): the same as the pages show.

For accounts of the control plane's own namespace whose token its own cluster accepted, as istiod has it for
its system namespace; `istioctl` asks as `default` there.
"""

import json
import os
import platform
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from google.protobuf import any_pb2

from isthmus import __version__
from isthmus.dashboard.config_dump import dumped
from isthmus.dashboard.server import Pages
from isthmus.dashboard.syncz import ProxySync, client_configs
from isthmus.model.identity import Identity
from isthmus.model.resources import Resource
from isthmus.model.service import ClusterId
from isthmus.xds.grpc_status import CallFailed, Status
from isthmus.xds.inspection import PREFIX, Findings, Inspect

VERSION = f"{__version__}-isthmus-Clean"
"""As istiod spells it: version, revision and status of the build."""


def inspecting(
    pages: Pages,
    clients: Callable[[], Sequence[ProxySync]],
    held: Callable[[str], Mapping[str, Sequence[Resource]] | None],
    *,
    home: ClusterId,
    namespace: str,
) -> Inspect:
    """Answers from `pages`, from who is connected, and from what a proxy holds, None for an unknown one."""
    myself = _identifier()

    def inspect(type_url: str, names: Sequence[str], identity: Identity) -> Findings:
        if (identity.cluster, identity.namespace) != (home, namespace):
            raise CallFailed(
                Status.PERMISSION_DENIED,
                f"{identity} may not ask about the mesh; ask with a token of an account of namespace "
                f"{namespace} in cluster {home}",
            )
        match type_url.removeprefix(PREFIX):
            case "":
                [name] = _one_of(names)
                return Findings([(name, any_pb2.Any(type_url=PREFIX, value=_page(pages, name)))])
            case "/syncz":
                return Findings(client_configs(clients()), myself)
            case "/config_dump":
                [proxy] = _one_of(names)
                found = held(proxy)
                configs = () if found is None else dumped(found).configs
                return Findings([(each.type_url, each) for each in configs])
            case _:
                return Findings([])

    return inspect


def _one_of(names: Sequence[str]) -> Sequence[str]:
    if len(names) != 1:
        raise CallFailed(Status.INVALID_ARGUMENT, f"name one thing to see, not {len(names)}")
    return names


def _page(pages: Pages, name: str) -> bytes:
    asked = urlsplit(name)
    found: Any = None
    [proxy] = parse_qs(asked.query).get("proxyID", [""])[:1]
    if asked.path in pages.of_proxy and (proxy or asked.path not in pages.debug):
        found = pages.of_proxy[asked.path](proxy)
    elif asked.path in pages.debug:
        found = pages.debug[asked.path]()
    elif asked.path == "list":
        found = pages.names
    if found is None:
        return b"404 page not found\n"
    return msgspec.json.encode(found)


def _identifier() -> str:
    """Who answers, as istiod says it (IstioControlPlaneInstance)."""
    info = {
        "version": __version__,
        "revision": "isthmus",
        "golang_version": f"python{platform.python_version()}",
        "status": "Clean",
        "tag": __version__,
    }
    name = os.environ.get("POD_NAME") or socket.gethostname()
    return json.dumps({"Component": "isthmus", "ID": name, "Info": info})
