"""Run in a box: a lab of two clusters whose nodes run pods, and what those pods see and do."""

import asyncio
import fcntl
import os
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isthmus.kube.access import access_from_file
from isthmus.kube.client import Client, running_client
from isthmus.kube.kinds import untyped
from isthmus.lab.network import pod_namespaces, unmake_all
from isthmus.lab.node.enter import entrance
from isthmus.lab.plan import STATE, ClusterPlan
from isthmus.lab.processes import NODE, LabProcess
from isthmus.lab.up import bring_up
from isthmus.lib.binaries import find_kubectl
from tests.support.accounts import default_account

POD = untyped("", "v1", "pods", "Pod")
NAMESPACE = untyped("", "v1", "namespaces", "Namespace", namespaced=False)
SERVICE = untyped("", "v1", "services", "Service")
CONFIG_MAP = untyped("", "v1", "configmaps", "ConfigMap")
_NS = "demo"
_SERVER = """
import http.server, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("terminated", flush=True), sys.exit(0)))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(self.client_address[0].encode())
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


def pod(name: str, container: dict[str, Any], **spec: Any) -> dict[str, Any]:
    whole = {"name": "main", "image": "isthmus/client"} | container
    meta = {"name": name, "labels": {"app": name}}
    return {"metadata": meta, "spec": {"containers": [whole], "terminationGracePeriodSeconds": 3} | spec}


def enter(plan: ClusterPlan, name: str, *command: str) -> str:
    found = entrance(plan.directory, _NS, name, None, list(command))
    done = subprocess.run(found.argv, env=found.env, capture_output=True, text=True, timeout=10)
    return (done.stdout + done.stderr).strip()


async def until(client: Client, name: str, met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        async with asyncio.timeout(15):
            while True:
                found = await client.get(POD, name, _NS)
                if met(found):
                    return found
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"pod {name} remained {found['status']}") from None


async def until_said(expected: str, plan: ClusterPlan, name: str, *command: str) -> None:
    """The command says so within 10 seconds: what was changed takes its time to be everywhere."""
    async with asyncio.timeout(10):
        while (said := enter(plan, name, *command)) != expected:
            print(f"{command} said {said!r}, not yet {expected!r}")
            await asyncio.sleep(0.05)


async def gone(client: Client, name: str) -> None:
    async with asyncio.timeout(15):
        while True:
            if name not in [found["metadata"]["name"] for found in (await client.list(POD, _NS)).items]:
                return
            await asyncio.sleep(0.02)


def ready(found: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in found["status"].get("conditions", []))


async def logs(client: Client, name: str, **query: str) -> str:
    return (await client.request("GET", POD.path(_NS, name, "log"), params=query)).decode()


async def check_pods(client: Client, plan: ClusterPlan) -> None:
    """Init containers, probes, volumes that change, users and rights, /dev/stdout, hooks and termination."""
    await client.create(CONFIG_MAP, {"metadata": {"name": "settings"}, "data": {"a": "1"}}, _NS)
    server = {
        "command": ["python3", "-c", _SERVER],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "echo stopping > /proc/1/fd/1"]}}},
        "securityContext": {"runAsUser": 1337, "runAsGroup": 1337, "readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": "settings", "mountPath": "/settings"}],
    }
    rules = "iptables -t nat -A OUTPUT -p tcp -m owner --uid-owner 1337 -j RETURN && iptables-save -t nat"
    init = {
        "name": "init",
        "image": "isthmus/proxyv2",
        "command": ["sh", "-c", rules],
        "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}},
    }
    volumes = [{"name": "settings", "configMap": {"name": "settings"}}]
    await client.create(POD, pod("web", server, initContainers=[init], volumes=volumes), _NS)
    await until(client, "web", ready)
    assert "--uid-owner 1337 -j RETURN" in await logs(client, "web", container="init")
    assert enter(plan, "web", "id", "-u") == "1337"
    assert "Read-only" in enter(plan, "web", "touch", "/x")
    await client.patch(CONFIG_MAP, "settings", {"data": {"a": "2"}}, _NS)
    await until_said("2", plan, "web", "cat", "/settings/a")
    following = asyncio.create_task(logs(client, "web", container="main", follow="true"))
    await asyncio.sleep(0.2)
    await client.delete(POD, "web", _NS)
    await gone(client, "web")
    assert [line for line in (await following).splitlines() if "GET" not in line] == [
        "stopping",
        "terminated",
    ]
    assert pod_namespaces(plan) == []


async def check_services(client: Client, plan: ClusterPlan, other: ClusterPlan) -> None:
    """Names, ClusterIPs, a pod that reaches itself, source addresses, across clusters, and refusals."""
    for name in ("web", "empty"):
        spec = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
        await client.create(SERVICE, {"metadata": {"name": name}, "spec": spec}, _NS)
    server = {
        "command": ["python3", "-c", _SERVER],
        "ports": [{"name": "http", "containerPort": 8080}],
        "securityContext": {"runAsUser": 1337},
        "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1},
    }
    await client.create(POD, pod("web", server), _NS)
    await client.create(POD, pod("client", {"command": ["sleep", "1000"]}), _NS)
    web = (await until(client, "web", ready))["status"]["podIP"]
    own = (await until(client, "client", ready))["status"]["podIP"]
    service = (await client.get(SERVICE, "web", _NS))["spec"]["clusterIP"]
    await until_said(own, plan, "client", "curl", "-sS", "-m2", "http://web.demo.svc.cluster.local")
    assert enter(plan, "client", "curl", "-sS", "-m2", f"http://{web}:8080") == own
    assert enter(plan, "web", "curl", "-sS", "-m2", f"http://{service}") == str(plan.pod_cidr[1])
    began = time.monotonic()
    assert "Couldn't connect" in enter(plan, "client", "curl", "-sS", "-m2", "http://empty")
    assert "resolve host" in enter(plan, "client", "curl", "-sS", "-m2", "http://nosuch.example")
    assert time.monotonic() - began < 1.5
    token = "/var/run/secrets/kubernetes.io/serviceaccount"
    version = f'curl -sS --cacert {token}/ca.crt -H "Authorization: Bearer $(cat {token}/token)"'
    assert "gitVersion" in enter(plan, "client", "sh", "-c", f"{version} https://kubernetes.default/version")
    assert "gitVersion" in enter(plan, "client", "curl", "-sSk", "-m2", f"{other.api_url}/version")


def kubectl(
    plan: ClusterPlan, *words: str, spdy: bool, typed: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    command = [str(find_kubectl()), f"--kubeconfig={plan.kubeconfig}", f"--namespace={_NS}", *words]
    return subprocess.run(command, env=_speaking(spdy), input=typed, capture_output=True, timeout=30)


def _speaking(spdy: bool) -> dict[str, str]:
    chosen = {
        f"KUBECTL_{what}_WEBSOCKETS": str(not spdy).lower() for what in ("REMOTE_COMMAND", "PORT_FORWARD")
    }
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | chosen


def on_terminal(plan: ClusterPlan, *words: str, typed: bytes, spdy: bool) -> tuple[int, str]:
    """kubectl on a terminal of 100 columns and 30 rows; its exit code and what was shown.

    Typed is only once there is a question mark.
    """
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    command = [str(find_kubectl()), f"--kubeconfig={plan.kubeconfig}", f"--namespace={_NS}", *words]
    with subprocess.Popen(command, env=_speaking(spdy), stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        shown = b""
        try:
            while data := os.read(ours, 4096):
                shown += data
                if typed and b"? " in shown:
                    os.write(ours, typed)
                    typed = b""
        except OSError:  # kubectl, its last user, has gone
            pass
        os.close(ours)
        return process.wait(10), shown.decode()


def check_streaming(plan: ClusterPlan, *, spdy: bool) -> None:
    """The real kubectl's exec, cp, attach and port-forward, by WebSocket or SPDY."""
    said = kubectl(plan, "exec", "web", "--", "sh", "-c", "id -u; echo bad >&2; exit 7", spdy=spdy)
    assert (said.returncode, said.stdout) == (7, b"1337\n"), said
    assert said.stderr.startswith(b"bad\n")
    large = os.urandom(3_000_000)
    back = kubectl(plan, "exec", "-i", "web", "--", "cat", spdy=spdy, typed=large)
    assert back.stdout == large, back.stderr
    lost = kubectl(plan, "exec", "web", "-c", "nobody", "--", "true", spdy=spdy)
    assert (lost.returncode, b"container nobody is not valid for pod web" in lost.stderr) == (1, True), lost
    asked = 'tty; stty size; echo $TERM; printf "? "; read word; echo "[$word]"; exit 3'
    code, shown = on_terminal(plan, "exec", "-it", "web", "--", "sh", "-c", asked, typed=b"yes\n", spdy=spdy)
    assert (code, shown.splitlines()[:3]) == (3, ["/dev/pts/0", "30 100", "xterm"]), shown
    assert "[yes]" in shown
    interrupted = 'trap "echo caught; exit 4" INT; printf "? "; while :; do sleep 0.1; done'
    code, shown = on_terminal(
        plan, "exec", "-it", "web", "--", "sh", "-c", interrupted, typed=b"\x03", spdy=spdy
    )
    assert (code, "caught" in shown) == (4, True), shown
    forward(plan, spdy=spdy)


def check_attaching(plan: ClusterPlan) -> None:
    """`kubectl run -it` and `-i`: what is typed reaches the program itself, and its exit code comes back."""
    ask = 'sleep 1; stty size; printf "? "; read word; echo "[$word]"; exit 5'
    words = ("run", "ask", "-it", "--rm", "--restart=Never", "--image=isthmus/client", "--", "sh", "-c", ask)
    code, shown = on_terminal(plan, *words, typed=b"yes\n", spdy=False)
    assert (code, "30 100" in shown, "[yes]" in shown) == (5, True, True), shown
    words = ("run", "count", "-i", "--rm", "--restart=Never", "--image=isthmus/client", "--quiet", "--")
    counted = kubectl(plan, *words, "sh", "-c", "sleep 1; wc -c", spdy=False, typed=b"x" * 300_000)
    assert (counted.returncode, counted.stdout.split()) == (0, [b"300000"]), counted


def forward(plan: ClusterPlan, *, spdy: bool) -> None:
    """Some connections at once to a port that listens, and one to a port that does not, which is told."""
    words = [f"--kubeconfig={plan.kubeconfig}", f"--namespace={_NS}", "port-forward", "web", ":8080", ":9"]
    command = [str(find_kubectl()), *words]
    env = _speaking(spdy)
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = [process.stdout.readline() for _ in range(4)]  # of each, its port at 127.0.0.1 and at ::1
        ports = [int(line.split(" ")[2].rpartition(":")[2]) for line in said if "127.0.0.1" in line]
        asked = [
            subprocess.Popen(["curl", "-sS", f"http://127.0.0.1:{ports[0]}"], stdout=subprocess.PIPE)
            for _ in range(5)
        ]
        assert [one.communicate(timeout=10)[0] for one in asked] == [b"127.0.0.1"] * 5
        subprocess.run(["curl", "-sS", "-m5", f"http://127.0.0.1:{ports[1]}"], capture_output=True)
        assert "error forwarding port 9 to pod demo/web: Connection refused" in process.stderr.readline()
        process.terminate()


async def check_endings(client: Client) -> None:
    """A pod that ends by itself takes its sidecar along; what cannot run says why, and waits or gives up."""
    loop = "trap 'echo ended; exit 0' TERM; while :; do sleep 0.05; done"
    side = {
        "name": "side",
        "image": "isthmus/client",
        "restartPolicy": "Always",
        "command": ["sh", "-c", loop],
    }
    work = {"command": ["sh", "-c", "echo working > /dev/stdout"]}
    await client.create(POD, pod("job", work, restartPolicy="Never", initContainers=[side]), _NS)
    await until(client, "job", lambda p: p["status"].get("phase") == "Succeeded")
    assert await logs(client, "job", container="main") == "working\n"
    assert await logs(client, "job", container="side") == "ended\n"
    await client.create(POD, pod("crash", {"command": ["sh", "-c", "echo out; exit 3"]}), _NS)
    found = await until(client, "crash", lambda p: waits_for(p) == "CrashLoopBackOff")
    assert found["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 3
    assert await logs(client, "crash", previous="true") == "out\n"
    await client.create(POD, pod("unknown", {"image": "nginx:1", "command": ["nginx"]}), _NS)
    await until(client, "unknown", lambda p: waits_for(p) == "ErrImagePull")
    await client.create(POD, pod("refused", {"command": ["true"]}, hostNetwork=True), _NS)
    await until(client, "refused", lambda p: "spec.hostNetwork" in p["status"].get("message", ""))
    source = {"configMapKeyRef": {"name": "late", "key": "a"}}
    late = {"command": ["sh", "-c", "echo $A; sleep 1000"], "env": [{"name": "A", "valueFrom": source}]}
    await client.create(POD, pod("late", late), _NS)
    await until(client, "late", lambda p: waits_for(p) == "CreateContainerConfigError")
    await client.create(CONFIG_MAP, {"metadata": {"name": "late"}, "data": {"a": "at last"}}, _NS)
    await until(client, "late", ready)


def waits_for(found: dict[str, Any]) -> str:
    statuses: list[dict[str, Any]] = found["status"].get("containerStatuses") or [{}]
    return statuses[0].get("state", {}).get("waiting", {}).get("reason", "")


async def check_crash(client: Client, plan: ClusterPlan) -> None:
    """A node that is killed takes its pods along; started again, it runs them anew and counts that."""
    process = LabProcess(plan, NODE)
    os.kill(int((plan.directory / "run" / "node.pid").read_text()), signal.SIGKILL)
    await asyncio.sleep(0.3)
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"run/pods" in p.read_bytes()]
    await process.start()
    await until(client, "web", lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 1)
    await until(client, "web", ready)


async def scenario(plans: list[ClusterPlan]) -> None:
    west, east = plans
    async with running_client(access_from_file(west.kubeconfig)) as client:
        await client.create(NAMESPACE, {"metadata": {"name": _NS}})
        await default_account(client, _NS)
        await check_pods(client, west)
        await check_services(client, west, east)
        for spdy in (False, True):
            await asyncio.to_thread(check_streaming, west, spdy=spdy)
        await asyncio.to_thread(check_attaching, west)
        await check_endings(client)
        await check_crash(client, west)
        began = time.monotonic()
        await client.create(POD, pod("quick", {"command": ["sleep", "1000"]}), _NS)
        await until(client, "quick", ready)
        print(f"pod ready after {time.monotonic() - began:.3f} s")


def main() -> None:
    """Fails by an exception."""
    before = sorted(Path("/run").iterdir())
    asyncio.run(scenario(bring_up(["west", "east"], print)))
    unmake_all()
    assert not STATE.exists()
    assert sorted(Path("/run").iterdir()) == before
    left = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline")]
    assert not [command for command in left if b"isthmus.lab." in command], left


if __name__ == "__main__":
    main()
