"""Whether pods reach each other across clusters, and API servers, tried by short-lived pods.

In each cluster one pod listens and one connects to all that the others have; both are deleted, however the
probe ends. They run as nobody, without a token.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import POD, untyped
from isthmus.kube.objects import Pod
from isthmus.operate.preflight.facts import Probes, Reach

_PODS = untyped("", "v1", "pods", "Pod")
_PORT = 18080
_PATIENCE = 90.0
"""Seconds within which an image must be pulled and a pod have run."""
_LISTEN = f"""
import socket
with socket.create_server(("", {_PORT}), family=socket.AF_INET6, dualstack_ipv6=True) as server:
    while True:
        server.accept()[0].close()
"""
_CONNECT = """
import json, socket, sys
for host, port in json.loads(sys.argv[1]):
    try:
        socket.create_connection((host, port), 5).close()
        error = ""
    except OSError as failure:
        error = failure.strerror or str(failure)
    print(json.dumps([host, error]), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Member:
    """A cluster in which to probe. `server` is the URL by which the control plane will reach it."""

    name: str
    client: Client
    server: str


@dataclass(frozen=True, slots=True)
class _Target:
    cluster: str
    what: str
    host: str
    port: int


async def probe(members: Sequence[Member], control: str, *, namespace: str, image: str) -> Probes:
    """Run the probe in all clusters. What cannot be run is in `failed` by cluster."""
    failed: dict[str, str] = {}
    addresses: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        started: dict[str, str] = {}
        for one in members:
            body = _pod("listen", image, [_LISTEN])
            try:
                started[one.name] = await stack.enter_async_context(_running(one.client, body, namespace))
            except (ApiError, Unreachable) as error:
                failed[one.name] = str(error)
        listening = [one for one in members if one.name in started]
        waits = (_wait(one.client, started[one.name], namespace, "Running") for one in listening)
        for one, found in zip(listening, await asyncio.gather(*waits), strict=True):
            if isinstance(found, str):
                failed[one.name] = found
            else:
                addresses[one.name] = found.addresses[0]
        able = [one for one in members if one.name in addresses]
        tries = (
            _connect(one, _targets(one, members, addresses, control), namespace=namespace, image=image)
            for one in able
        )
        reached: list[Reach] = []
        for one, result in zip(able, await asyncio.gather(*tries), strict=True):
            if isinstance(result, str):
                failed[one.name] = result
            else:
                reached += result
    return Probes(tuple(reached), failed)


def _targets(
    source: Member, members: Sequence[Member], addresses: Mapping[str, str], control: str
) -> list[_Target]:
    """Every other cluster's pod; and from the control plane's cluster every API server."""
    others = [one for one in members if one.name != source.name]
    targets = [
        _Target(one.name, "pod", addresses[one.name], _PORT) for one in others if one.name in addresses
    ]
    if source.name == control:
        for one in others:
            parts = urlsplit(one.server)
            targets.append(_Target(one.name, "api", parts.hostname or "", parts.port or 443))
    return targets


async def _connect(
    source: Member, targets: Sequence[_Target], *, namespace: str, image: str
) -> list[Reach] | str:
    body = _pod("connect", image, [_CONNECT, json.dumps([[one.host, one.port] for one in targets])])
    try:
        async with _running(source.client, body, namespace) as name:
            ended = await _wait(source.client, name, namespace, "Succeeded")
            if isinstance(ended, str):
                return ended
            log = await source.client.request("GET", _PODS.path(namespace, name, "log"))
    except (ApiError, Unreachable) as error:
        return str(error)
    return read_log(source.name, targets, log.decode(errors="replace"))


def read_log(source: str, targets: Sequence[_Target], log: str) -> list[Reach]:
    """What the connecting pod printed, a line a target in their order."""
    lines = [line for line in log.splitlines() if line.startswith("[")]
    reached: list[Reach] = []
    for number, one in enumerate(targets):
        error = "the probe did not get so far"
        if number < len(lines):
            with suppress(ValueError):
                error = str(json.loads(lines[number])[1])
        reached.append(Reach(source, one.cluster, one.what, f"{one.host}:{one.port}", error))
    return reached


@asynccontextmanager
async def _running(client: Client, body: dict[str, Any], namespace: str) -> AsyncGenerator[str]:
    """A pod that is deleted with the block; its name."""
    made = await client.create(_PODS, body, namespace)
    name = str(made["metadata"]["name"])
    try:
        yield name
    finally:
        with suppress(ApiError, Unreachable):
            await client.delete(_PODS, name, namespace, grace_seconds=0)


async def _wait(client: Client, name: str, namespace: str, phase: str) -> Pod | str:
    """The pod once it is in that phase with an address, or why that did not come about."""
    pod: Pod | None = None
    try:
        async with asyncio.timeout(_PATIENCE):
            while True:
                pod = await client.get(POD, name, namespace)
                if pod.status.phase == phase and pod.addresses:
                    return pod
                if pod.status.phase in ("Failed", "Succeeded"):
                    return f"its pod ended as {pod.status.phase}; the image needs python3"
                await asyncio.sleep(0.2)
    except TimeoutError:
        phase = pod.status.phase if pod else "unknown"
        return f"its pod was still {phase or 'Pending'} after {_PATIENCE:g} s"
    except (ApiError, Unreachable) as error:
        return str(error)


def _pod(role: str, image: str, arguments: Sequence[str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"isthmus-preflight-{role}-{secrets.token_hex(4)}",
            "labels": {"app": "isthmus-preflight"},
            "annotations": {"sidecar.istio.io/inject": "false"},
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": int(2 * _PATIENCE),
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1337,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "probe",
                    "image": image,
                    "command": ["python3", "-c", *arguments],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }
