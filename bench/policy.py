"""`python -m bench.policy`: checks a second and their 99th percentile, beside an empty `grpc.aio` service.

100 rules are in force, of which 20 apply to the destination; none refuses, so all 20 are asked each time.
Both servers run at once and are asked in turns, by the same caller; of several rounds the best counts, for
other work on the machine can only add. JSON on standard output. `--plot` measures with other numbers of rules
too, and draws what a check costs.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import uvloop
import yaml
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from grpc import aio

from bench.children import running_child, usage
from bench.plots import plot
from bench.unary import call
from isthmus.config.policy_context import CONTEXT_METADATA, Destination, context_text

_APPLYING = (1, 5, 20, 50, 100)
METHOD = "/envoy.service.auth.v3.Authorization/Check"
_CONDITIONS = (
    'source.namespace == "forbidden-{n}"',
    'request.method == "DELETE" && request.path.startsWith("/admin/{n}")',
    'request.headers["x-tenant"] == "blocked-{n}"',
    'source.principal == "cluster.local/ns/demo/sa/nobody-{n}"',
    'request.host == "internal-{n}" || request.url_path.endsWith(".{n}")',
)


def rules(in_all: int, applying: int) -> str:
    """Policies as YAML: `applying` rules for namespace demo, the others for other namespaces."""
    return yaml.safe_dump_all(
        _policy("demo" if start == 0 else f"other-{start}", range(start, start + applying))
        for start in range(0, in_all, applying)
    )


def _policy(namespace: str, numbers: range) -> dict[str, Any]:
    named: list[dict[str, Any]] = [
        {"name": f"r{n}", "when": _CONDITIONS[n % 5].format(n=n), "deny": {}} for n in numbers
    ]
    return {
        "apiVersion": "policy.isthmus.dev/v1alpha1",
        "kind": "Policy",
        "metadata": {"name": "bench", "namespace": namespace},
        "spec": {"rules": named},
    }


def check() -> bytes:
    """A check as Envoy sends it for a request of a browser or a service."""
    request = CheckRequest()
    attributes = request.attributes
    attributes.source.address.socket_address.address = "10.1.2.3"
    attributes.source.address.socket_address.port_value = 40000
    attributes.source.principal = "spiffe://cluster.local/ns/demo/sa/client"
    attributes.destination.address.socket_address.address = "10.1.9.9"
    attributes.destination.address.socket_address.port_value = 8080
    attributes.destination.principal = "spiffe://cluster.local/ns/demo/sa/echo"
    attributes.request.time.seconds = int(time.time())
    http = attributes.request.http
    http.id, http.method, http.path, http.host = "1234567890", "GET", "/api/v1/products?page=1", "echo.demo"
    http.scheme, http.protocol, http.size = "http", "HTTP/1.1", -1
    http.headers.update(
        {
            ":authority": "echo.demo",
            ":method": "GET",
            ":path": "/api/v1/products?page=1",
            ":scheme": "http",
            "accept": "*/*",
            "user-agent": "Mozilla/5.0 (X11; Linux x86_64)",
            "x-request-id": "5b9c1f0e-3c1b-4a51-9f60-5a1b2c3d4e5f",
            "x-forwarded-proto": "http",
            "x-tenant": "acme",
            "accept-encoding": "gzip, deflate",
            "x-b3-traceid": "463ac35c9f6413ad48485a3953bb6124",
            "x-b3-spanid": "a2fb4a1d1a96d312",
            "x-b3-sampled": "1",
        }
    )
    return request.SerializeToString()


def metadata() -> tuple[tuple[str, str], ...]:
    """What a sidecar's filter says of its destination."""
    echo = Destination("west", "demo", "echo", "echo.demo.svc.cluster.local", "echo", {"app": "echo"})
    return ((CONTEXT_METADATA, context_text(echo)),)


async def _serve_floor() -> None:
    """An empty service: it takes bytes and answers none."""

    async def answer(_message: bytes, _context: object) -> bytes:
        return b""

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
            handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(answer)
            return handler

    server = aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


async def _compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    file, log = folder / "rules.yaml", folder / "policy.log"
    file.write_text(rules(options.rules, options.applying))
    message = check()
    addresses = ("--grpc-address", "127.0.0.1:0", "--monitoring-address", "127.0.0.1:0")
    command = ("-m", "isthmus.cli.main", "policy", "--rules", str(file), *addresses)
    async with (
        running_child("-m", "bench.policy", "--floor") as floor,
        running_child(*command, log=log) as ours,
    ):
        ports = {"floor": int(await floor.line()), "ours": await _port(log)}
        pids = {"floor": floor.pid, "ours": ours.pid}
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in ports}
        for index in range(options.rounds + 1):
            for name, port in ports.items():
                before = usage(pids[name]).cpu
                caller = await call(
                    *(port, METHOD, message),
                    seconds=options.seconds,
                    width=options.width,
                    metadata=metadata(),
                )
                if caller.answered != len(caller.latencies):
                    raise RuntimeError(f"{name} refused calls; its log ends: {log.read_text()[-2000:]}")
                if index:  # The first round warms both up.
                    rounds[name].append(
                        _round(caller.latencies, options.seconds, usage(pids[name]).cpu - before)
                    )
    result: dict[str, Any] = {
        name: {key: (max if key == "perSecond" else min)(one[key] for one in found) for key in found[0]}
        for name, found in rounds.items()
    }
    return {
        "rules": options.rules,
        "applying": options.applying,
        "width": options.width,
        **result,
        "ratio": {
            "perSecond": result["ours"]["perSecond"] / result["floor"]["perSecond"],
            "p99": result["floor"]["p99Ms"] / result["ours"]["p99Ms"],
            "cpu": result["floor"]["cpuUs"] / result["ours"]["cpuUs"],
        },
    }


def _round(latencies: list[float], seconds: float, cpu: float) -> dict[str, float]:
    ordered = sorted(latencies)
    return {
        "perSecond": len(ordered) / seconds,
        "p50Ms": ordered[len(ordered) // 2] * 1000,
        "p99Ms": ordered[len(ordered) * 99 // 100] * 1000,
        "cpuUs": cpu / len(ordered) * 1e6,
    }


async def _port(log: Path) -> int:
    for _ in range(300):
        for line in log.read_text().splitlines() if log.exists() else ():
            if '"serving"' in line:
                return json.loads(line)["grpc_port"]
        await asyncio.sleep(0.1)
    raise RuntimeError(f"the policy server does not serve; its log ends: {log.read_text()[-2000:]}")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.policy", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rules", type=int, default=100, help="in force")
    parser.add_argument("--applying", type=int, default=20, help="of them to the destination")
    parser.add_argument("--width", type=int, default=32, help="calls under way at once")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    parser.add_argument("--floor", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.floor:
        uvloop.run(_serve_floor())
        return
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(uvloop.run(_compare(options, Path(name))), indent=2))
    if options.plot is not None:
        _plot(options)


def _plot(options: argparse.Namespace) -> None:
    lines: dict[str, list[tuple[float, float]]] = {"isthmus policy": [], "empty gRPC": []}
    for applying in _APPLYING:
        options.applying = applying
        with tempfile.TemporaryDirectory() as name:
            found = uvloop.run(_compare(options, Path(name)))
        for line, side in zip(lines, ("ours", "floor"), strict=True):
            lines[line].append((applying, found[side]["cpuUs"]))
    title = f"What a check costs, {options.rules} rules in force"
    plot(options.plot, title, "rules that apply", "µs of CPU a check", lines)


if __name__ == "__main__":
    main()
