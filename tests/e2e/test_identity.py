"""Certificates that live for seconds and a root that gives way to another: traffic notices neither.

Every request opens a connection of its own, from the application through both Envoys, so each is a handshake
with the certificates and roots of its moment, and nobody tries it again.
"""

import asyncio
import base64
import json
import urllib.request
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import yaml

from isthmus.ca.administration import Status, read_status
from isthmus.ca.rotation import Phase
from isthmus.lab.demo.deploy import (
    SYSTEM,
    LabCluster,
    connected,
    deploy_workloads,
    enter_client,
    find_client,
)
from isthmus.lab.demo.installing import install_control_plane, install_remote, join
from isthmus.lab.demo.workloads import DEMO
from isthmus.lab.exec import enter_pod
from isthmus.lab.plan import STATE, ClusterPlan
from tests.e2e.commands import isthmus, kubectl, pilot_address
from tests.e2e.conftest import Mesh

WORKERS = 4
TRAFFIC = """
import asyncio, json, sys, threading

seen = dict(requests=0, failures=[], clusters=[], callers=[])
over = threading.Event()

async def ask():
    reader, writer = await asyncio.open_connection("raw.demo.svc.cluster.local", 81)
    try:
        writer.write(b"GET / HTTP/1.1\\r\\nhost: raw\\r\\nconnection: close\\r\\n\\r\\n")
        answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\\r\\n\\r\\n")
    if b" 200 " not in head.split(b"\\r\\n")[0]:
        raise RuntimeError(answer[:200].decode() or "closed without an answer")
    return json.loads(body)

async def work():
    while not over.is_set():
        seen["requests"] += 1
        try:
            answer = await asyncio.wait_for(ask(), 20)
            caller = answer["headers"].get("x-forwarded-client-cert", "none")
            for name, value in (("clusters", answer["cluster"]), ("callers", caller)):
                if value not in seen[name]:
                    seen[name].append(value)
        except Exception as error:
            seen["failures"].append(f"{type(error).__name__}: {error}")
        await asyncio.sleep(0.05)

async def main(workers):
    print("begun", flush=True)
    await asyncio.gather(*(work() for _ in range(workers)))
    print(json.dumps(seen), flush=True)

threading.Thread(target=lambda: (sys.stdin.readline(), over.set()), daemon=True).start()
asyncio.run(main(int(sys.argv[1])))
"""


@dataclass
class Seen:
    """What the client saw; filled in when the traffic is over."""

    requests: int = 0
    failures: Sequence[str] = ()
    clusters: Sequence[str] = ()
    callers: Sequence[str] = ()
    """Every distinct `x-forwarded-client-cert`: one for each certificate that the client showed."""


@asynccontextmanager
async def traffic(primary: LabCluster) -> AsyncGenerator[Seen]:
    """Requests without a pause from the client to Service raw, until the block ends."""
    entrance = await enter_client(primary, ["python", "-c", TRAFFIC, str(WORKERS)])
    process = await asyncio.create_subprocess_exec(
        *entrance.argv, env=entrance.env, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    seen = Seen()
    try:
        assert await process.stdout.readline() == b"begun\n"
        yield seen
        async with asyncio.timeout(60):
            output, _ = await process.communicate(b"\n")
        for name, value in json.loads(output).items():
            setattr(seen, name, value)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def raw_service() -> str:
    """Service raw: echo's pods by TCP, so that each connection of a client is one between Envoys."""
    ports = [{"name": "tcp", "port": 81, "targetPort": 8080}]
    spec = {"selector": {"app": "echo"}, "ports": ports}
    metadata = {"name": "raw", "namespace": DEMO}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})


@asynccontextmanager
async def living(plans: Sequence[ClusterPlan], seconds: int, introduction: int) -> AsyncGenerator[LabCluster]:
    """The demonstration's mesh, with certificates of so many seconds; yields the first cluster."""
    options: list[str] = []
    for name, value in (
        ("lifetime", f"{seconds}s"),
        ("longestLifetime", f"{seconds}s"),
        ("clockSkew", "1s"),
        ("rootIntroduction", f"{introduction}s"),
    ):
        options += ["--set", f"meshConfig.isthmus.certificates.{name}={value}"]
    async with connected(plans) as (primary, remote):
        await install_control_plane(primary, *options)
        await install_remote(primary, remote)
        await join(primary, remote)
        for cluster in (primary, remote):  # Those that are there have certificates for a day.
            await asyncio.to_thread(kubectl, cluster.name, "delete", "pods", "--all", "-n", DEMO, "--wait")
        await deploy_workloads(primary, [remote], replicas=2)
        for cluster in (primary, remote):
            await asyncio.to_thread(kubectl, cluster.name, "apply", "-f", "-", text=raw_service())
        try:
            async with asyncio.timeout(60):
                while True:
                    async with traffic(primary) as seen:
                        await asyncio.sleep(1)
                    if len(seen.clusters) == 2 and not seen.failures:
                        break
            yield primary
        finally:
            for cluster in (primary, remote):
                await asyncio.to_thread(kubectl, cluster.name, "delete", "service", "raw", "-n", DEMO)


def issued() -> float:
    """Certificates that the CA has issued since pilot began."""
    return _counted("citadel_server_success_cert_issuance_count ")


def sent_away() -> float:
    """Streams that ended as the certificates by which they were admitted did."""
    return _counted('isthmus_proofs_ended_total{reason="expired"} ')


def _counted(sample: str) -> float:
    with urllib.request.urlopen(f"http://{pilot_address()}:8080/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    (line,) = [one for one in lines if one.startswith(sample)]
    return float(line.split()[1])


def ca(primary: LabCluster, *arguments: str) -> str:
    done = isthmus("ca", *arguments, "--kubeconfig", str(STATE / primary.name / "kubeconfig"))
    assert done.returncode == 0, done.stderr
    return done.stdout


async def phase(primary: LabCluster, wanted: Phase, roots: int) -> Status:
    """The CA's status, once it is that. No command is run for it: some phases are over before one begins."""
    async with asyncio.timeout(90):
        while True:
            found = await read_status(primary.client, SYSTEM, datetime.now(UTC))
            if (found.phase, len(found.roots), found.rotation_wanted) == (wanted, roots, False):
                return found
            await asyncio.sleep(0.1)


async def test_brief_certificates_and_a_new_root_cost_no_request(
    plans: Sequence[ClusterPlan],
) -> None:
    async with living(plans, seconds=10, introduction=6) as primary:
        (old,) = (await phase(primary, Phase.STEADY, 1)).roots
        before, sidecars = await asyncio.to_thread(issued), 5
        away = await asyncio.to_thread(sent_away)
        async with traffic(primary) as seen:
            asked = asyncio.to_thread(ca, primary, "rotate")
            _, found = await asyncio.gather(asked, phase(primary, Phase.INTRODUCING, 2))
            assert [root.serial for root in found.roots if root.signs] == [old.serial]
            found = await phase(primary, Phase.RETIRING, 2)
            assert [root.serial for root in found.roots if root.signs] != [old.serial]
            (new,) = (await phase(primary, Phase.STEADY, 1)).roots
            assert new.serial != old.serial
            await asyncio.sleep(6)  # Nothing that the old root signed is valid any more.
        assert seen.failures == []
        assert seen.requests > 100
        assert len(seen.clusters) == 2
        assert len(seen.callers) >= 4, "the client showed each certificate in its turn"
        assert all("URI=spiffe://cluster.local/ns/demo/sa/default" in one for one in seen.callers)
        assert await asyncio.to_thread(issued) - before >= 4 * sidecars
        assert await asyncio.to_thread(sent_away) - away >= sidecars, "streams went with their certificates"


@pytest.mark.soak
async def test_five_minutes_of_minutely_certificates_cost_no_request(
    plans: Sequence[ClusterPlan],
) -> None:
    async with living(plans, seconds=60, introduction=30) as primary:
        async with traffic(primary) as seen:
            await asyncio.sleep(300)
        assert seen.failures == []
        assert len(seen.callers) >= 8


def _logs(cluster: str) -> str:
    """What all pods have said, but those that are going."""
    listing = json.loads(kubectl(cluster, "get", "pods", "-A", "-o", "json"))["items"]
    return "\n".join(
        kubectl(cluster, "logs", "-n", one["namespace"], one["name"], "--all-containers")
        for one in (item["metadata"] for item in listing)
        if "deletionTimestamp" not in one
    )


def _kept(cluster: str) -> set[str]:
    """What the Secrets of the control plane's namespace hide: keys, and the tokens in kubeconfigs."""
    found: set[str] = set()
    for secret in json.loads(kubectl(cluster, "get", "secrets", "-n", SYSTEM, "-o", "json"))["items"]:
        for value in secret.get("data", {}).values():
            text = base64.b64decode(value).decode()
            if "PRIVATE KEY" in text:
                found.add(text.splitlines()[2])
            if "kind: Config" in text or '"Config"' in text:
                found |= {entry["user"]["token"] for entry in yaml.safe_load(text)["users"]}
    return found


async def test_no_pod_says_a_key_or_a_token(mesh: Mesh) -> None:
    hidden = await asyncio.to_thread(_kept, mesh.primary.name)
    assert len(hidden) >= 2, "the CA's key and the token of the remote cluster"
    dumps: list[str] = []
    for wanted in (
        ["cat", "/var/run/secrets/tokens/istio-token"],
        ["curl", "-s", "localhost:15000/config_dump"],
    ):
        entrance = enter_pod(await find_client(mesh.primary), "istio-proxy", wanted)
        process = await asyncio.create_subprocess_exec(
            *entrance.argv, env=entrance.env, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        dumps.append(output.decode())
    token, config = dumps
    assert token.count(".") == 2
    assert "inline_bytes" in config or "secrets" in config.lower()
    hidden |= {token.strip(), token.rpartition(".")[2].strip()}
    logs = [await asyncio.to_thread(_logs, cluster.name) for cluster in (mesh.primary, mesh.remote)]
    assert "CA in force" in logs[0], "these are the logs"
    said = [config, *logs]
    assert [secret[:8] + "…" for secret in hidden if any(secret in text for text in said)] == []
    assert not any("BEGIN PRIVATE KEY" in text or "BEGIN EC PRIVATE" in text for text in said)
