"""Run in a box: one cluster with a control plane, and injected pods that complete, wait, and are probed."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from typing import Any

from isthmus.inject.injection import inject
from isthmus.inject.settings import InjectionSettings, NativeSidecars
from isthmus.inject.workload import workload_in
from isthmus.kube.client import Client
from isthmus.kube.kinds import untyped
from isthmus.lab.demo.deploy import connected
from isthmus.lab.demo.installing import install_control_plane
from isthmus.lab.network import unmake_all
from isthmus.lab.plan import ClusterPlan
from isthmus.lab.up import bring_up
from isthmus.lib.binaries import find_kubectl
from tests.lab.node.node_scenario import NAMESPACE, POD, ready, until
from tests.support.accounts import default_account

_NS = "demo"
_JOB = untyped("batch", "v1", "jobs", "Job")
_CLASSIC = InjectionSettings(cluster_id="west", native_sidecars=NativeSidecars.NEVER)
_NATIVE = InjectionSettings(cluster_id="west")
_SIDECAR_IS_READY = "curl -fsS -m5 -o /dev/null http://127.0.0.1:15021/healthz/ready"
_SERVER = """
import http.server, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 500); self.end_headers()
server = http.server.ThreadingHTTPServer(("", 8080), Handler)
threading.Timer(float(sys.argv[1]), server.shutdown).start()
server.serve_forever()
"""


def pod(name: str, script: str, settings: InjectionSettings, **fields: Any) -> dict[str, Any]:
    """An injected pod of one container that runs the script."""
    container: dict[str, Any] = {"name": "main", "image": "isthmus/client", "command": ["sh", "-ec", script]}
    container["ports"] = [{"name": "http", "containerPort": 8080}]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if probe in fields:
            container[probe] = fields.pop(probe)
    metadata = {"name": name, "annotations": fields.pop("annotations", {})}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 3} | fields
    workload = workload_in({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, name)
    assert workload is not None
    return inject(workload, settings)


def succeeded(found: dict[str, Any]) -> bool:
    return found["status"].get("phase") == "Succeeded"


def serve(seconds: float) -> str:
    return f"exec python3 -c '{_SERVER}' {seconds}"


async def check_native(client: Client) -> None:
    """Its steps start when the sidecar is ready, its probes pass by way of the agent, and it completes."""
    first = {"name": "first", "image": "isthmus/client", "command": ["sh", "-ec", _SIDECAR_IS_READY]}
    probe = {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1}
    job = pod(
        "native",
        serve(4),
        _NATIVE,
        restartPolicy="Never",
        initContainers=[first],
        startupProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        readinessProbe=probe,
    )
    await client.create(POD, job, _NS)
    await until(client, "native", ready)
    await until(client, "native", succeeded)


async def check_job(west: ClusterPlan, client: Client) -> None:
    """As an operator does it: `isthmus inject -f - | kubectl apply -f -`, and the Job completes."""
    container = {"name": "main", "image": "isthmus/client", "command": ["sh", "-ec", _SIDECAR_IS_READY]}
    template = {"spec": {"containers": [container], "restartPolicy": "Never"}}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "report", "namespace": _NS},
        "spec": {"template": template, "backoffLimit": 0},
    }
    injected = await run(
        west, sys.executable, "-m", "isthmus.cli.main", "inject", "-f", "-", text=json.dumps(job)
    )
    await run(west, str(find_kubectl()), "apply", "-f", "-", text=injected)
    async with asyncio.timeout(30):
        while True:
            found = await client.get(_JOB, "report", _NS)
            status = found.get("status", {})
            assert not status.get("failed"), status
            if status.get("succeeded") == 1:
                return
            await asyncio.sleep(0.1)


async def check_sets(west: ClusterPlan, client: Client) -> None:
    """A StatefulSet, a DaemonSet and a CronJob get the sidecar likewise, and run with it."""
    container = {"name": "main", "image": "isthmus/client", "command": ["sh", "-ec", serve(600)]}
    labels = {"kept": "yes"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    kept = {"selector": {"matchLabels": labels}, "template": template}
    task = {"containers": [{**container, "command": ["true"]}], "restartPolicy": "Never"}
    cron = {"schedule": "@yearly", "jobTemplate": {"spec": {"template": {"spec": task}}}}
    parts = (
        ("apps/v1", "StatefulSet", "db", {**kept, "serviceName": "db", "replicas": 2}),
        ("apps/v1", "DaemonSet", "agent", kept),
        ("batch/v1", "CronJob", "yearly", cron),
    )
    items = [
        {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": _NS}, "spec": spec}
        for version, kind, name, spec in parts
    ]
    stream = "\n---\n".join(map(json.dumps, items))
    injected = await run(west, sys.executable, "-m", "isthmus.cli.main", "inject", "-f", "-", text=stream)
    kubectl = str(find_kubectl())
    await run(west, kubectl, "create", "-f", "-", text=injected)
    await run(west, kubectl, "create", "job", "-n", _NS, "--from=cronjob/yearly", "now", text="")
    for name in ("statefulset/db", "daemonset/agent"):
        await run(west, kubectl, "rollout", "status", name, "-n", _NS, "--timeout=60s", text="")
    await run(
        west, kubectl, "wait", "job/now", "-n", _NS, "--for=condition=Complete", "--timeout=60s", text=""
    )
    pods = [each for each in (await client.list(POD, _NS)).items if each["metadata"]["labels"].get("kept")]
    assert {"db-0", "db-1"} < {each["metadata"]["name"] for each in pods}
    for each in pods:
        assert "istio-proxy" in [one["name"] for one in each["spec"]["containers"]]


async def run(west: ClusterPlan, *command: str, text: str) -> str:
    """A command's standard output; it must succeed."""
    environment = {**os.environ, "KUBECONFIG": str(west.kubeconfig)}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    output, errors = await process.communicate(text.encode())
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def check_classic(client: Client) -> None:
    """On a Kubernetes without native sidecars the application ends the sidecar itself."""
    script = "until curl -fsS -m5 -X POST http://127.0.0.1:15020/quitquitquit; do sleep 0.2; done"
    await client.create(POD, pod("classic", script, _CLASSIC, restartPolicy="Never"), _NS)
    await until(client, "classic", succeeded)


async def check_held(client: Client) -> None:
    """The application starts when the sidecar is ready; a probe that fails behind the agent fails."""
    held = {"proxy.istio.io/config": "holdApplicationUntilProxyStarts: true"}
    probe = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1}
    script = f"{_SIDECAR_IS_READY} && {serve(60)}"
    await client.create(POD, pod("held", script, _CLASSIC, annotations=held, readinessProbe=probe), _NS)
    found = await until(client, "held", ready)
    assert [status["restartCount"] for status in found["status"]["containerStatuses"]] == [0, 0]
    bad = {"httpGet": {"path": "/bad", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1}
    await client.create(POD, pod("sick", serve(60), _CLASSIC, livenessProbe=bad), _NS)
    await until(
        client,
        "sick",
        lambda p: any(
            status["name"] == "main" and status["restartCount"] > 0
            for status in p["status"].get("containerStatuses", [])
        ),
    )


async def scenario(west: ClusterPlan) -> None:
    async with connected([west]) as (cluster,):
        await install_control_plane(cluster)
        client = cluster.client
        await client.create(NAMESPACE, {"metadata": {"name": _NS}})
        await default_account(client, _NS)
        await check_native(client)
        await check_job(west, client)
        await check_sets(west, client)
        await check_classic(client)
        await check_held(client)


def main() -> None:
    """Fails by an exception."""
    (west,) = bring_up(["west"], print)
    asyncio.run(scenario(west))
    unmake_all()


if __name__ == "__main__":
    main()
