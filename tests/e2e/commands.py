"""The commands that operators use, run as they would run them."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from typing import Any

from isthmus.lab.demo.deploy import SYSTEM
from isthmus.lab.plan import STATE
from isthmus.lib.binaries import find_kubectl

Result = subprocess.CompletedProcess[str]
Object = tuple[str, ...]
"""Kind, namespace and name."""
_UNLISTED = {"events", "events.events.k8s.io"}


def isthmus(*arguments: str, timeout: float = 90, **variables: str) -> Result:
    command = [sys.executable, "-m", "isthmus.cli.main", *arguments]
    environment = {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)


def lab(*arguments: str, timeout: float = 90) -> str:
    """`isthmus lab …`, which must succeed."""
    done = isthmus("lab", *arguments, timeout=timeout)
    assert done.returncode == 0, done.stderr or done.stdout
    return done.stdout


def kubectl(cluster: str, *arguments: str, text: str | None = None) -> str:
    """`kubectl …` against a cluster of the lab, which must succeed."""
    environment = {**os.environ, "KUBECONFIG": str(STATE / cluster / "kubeconfig")}
    done = subprocess.run(
        [str(find_kubectl()), *arguments],
        input=text,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def pods(cluster: str, namespace: str, selector: str) -> list[dict[str, Any]]:
    listing = kubectl(cluster, "get", "pods", "-n", namespace, "-l", selector, "-o", "json")
    return json.loads(listing)["items"]


async def until_one_pilot() -> None:
    """Until none is left that an upgrade replaced."""
    async with asyncio.timeout(60):
        while len(await asyncio.to_thread(pods, "west", SYSTEM, "istio=pilot")) != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


def pilot_address() -> str:
    """The control plane's, which may be beside one that an upgrade replaced and that is draining."""
    found = pods("west", SYSTEM, "istio=pilot")
    (pilot,) = [one for one in found if "deletionTimestamp" not in one["metadata"]]
    return pilot["status"]["podIP"]


def pilot_page(path: str) -> Any:
    """A page of the control plane, decoded; asked for as an account of its namespace may."""
    account = "istio-pilot-service-account"
    token = kubectl("west", "create", "token", account, "-n", SYSTEM, "--audience=isthmus-debug").strip()
    request = urllib.request.Request(
        f"http://{pilot_address()}:8080{path}", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=5) as page:
        return json.load(page)


def everything(cluster: str) -> set[Object]:
    """All that there is in a cluster, whatever its kind, but Events."""
    listed = kubectl(cluster, "api-resources", "--verbs=list", "-o", "name").split()
    columns = "K:.kind,S:.metadata.namespace,N:.metadata.name"
    wanted = ",".join(kind for kind in listed if kind not in _UNLISTED)
    rows = kubectl(cluster, "get", wanted, "-A", "--no-headers", "-o", f"custom-columns={columns}")
    return {tuple(row.split()) for row in rows.splitlines()}


def own_of(namespace: str) -> set[Object]:
    """A namespace, and what Kubernetes itself puts into it."""
    return {
        ("Namespace", "<none>", namespace),
        ("ServiceAccount", namespace, "default"),
        ("ConfigMap", namespace, "kube-root-ca.crt"),
    }
