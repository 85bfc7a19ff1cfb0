"""`python -m bench --sweep`: how cost grows with proxies, with services, and with one service's endpoints.

One run is one line of each plot in `docs/plots`, ours and both floors by turns; `docs/plots/sweep.json` has
the figures. It takes some ten minutes.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench import stages
from bench.children import Json
from bench.measure import compare, tell
from bench.plan import Plan
from bench.plots import plot
from bench.targets import Mesh, running_pilot

FOLDER = Path("docs/plots")
_PROXIES = (10, 100, 1000, 2500, 5000)
_SERVICES = (100, 1000, 10_000)
_ENDPOINTS = (10, 100, 1000, 10_000)
_NAMES = {"server": "Isthmus", "bench.bare": "bare writes", "bench.floor": "empty gRPC"}
_STAGES = {
    "watch line": "watch line",
    "joined view": "joined view",
    "assignment": "assignment",
    "bytes and first write": "first write",
    "other writes": "other writes",
}


async def sweep(changes: int) -> None:
    """Measure everything and draw it."""
    usual = Mesh(500, 10)
    found: Json = {
        "proxies": [await _run(usual, Plan("sotw", count, changes)) for count in _PROXIES],
        "tls": [await _run(usual, Plan("delta", count, changes), tls=True) for count in (100, 1000)],
        "services": [await _run(Mesh(count, 10), Plan("sotw", 100, changes)) for count in _SERVICES],
        "endpoints": {str(count): stages.measure(count, 1000, changes) for count in _ENDPOINTS},
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "sweep.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(found, FOLDER)


async def _run(mesh: Mesh, plan: Plan, *, tls: bool = False) -> Json:
    tell(f"{plan.proxies} proxies, {mesh.services} services of {mesh.endpoints} endpoints")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if tls:
            plan = replace(plan, tls=str(folder / "proxies"))
        async with running_pilot(mesh, folder, proving=plan.proxies if tls else 0) as target:
            result = await compare(target.xds, target.pids, plan, target.push, folder)
    return {"services": mesh.services, "endpoints": mesh.endpoints, **result}


def draw(found: Json, folder: Path) -> None:
    """The plots of what `sweep` found."""
    proxies: list[Json] = found["proxies"]
    services: list[Json] = found["services"]
    figures: tuple[tuple[str, str, str, Callable[[Json], float]], ...] = (
        ("last-proxy", "One changed endpoint: time to the last proxy", "milliseconds", _last_proxy),
        ("change-cpu", "One changed endpoint: CPU of the server", "milliseconds", _change),
        ("connect-cpu", "Connecting, everything sent: CPU of the server", "seconds", _connect),
        ("memory", "Memory of the server", "MiB", _memory),
    )
    for file, title, y_name, figure in figures:
        plot(folder / f"{file}.svg", title, "proxies", y_name, _lines(proxies, "proxies", figure))
    connecting, changing = _lines(services, "services", _connect), _lines(services, "services", _change)
    x_name = "services of 10 endpoints"
    plot(folder / "services.svg", "100 proxies connect: CPU of the server", x_name, "seconds", connecting)
    title = "One changed endpoint, 100 proxies: CPU of the server"
    plot(folder / "services-change.svg", title, x_name, "milliseconds", changing)
    by_count: dict[str, Json] = found["endpoints"]
    lines = {name: [(int(n), found[key]) for n, found in by_count.items()] for key, name in _STAGES.items()}
    title = "One endpoint changes, 1,000 proxies: CPU by stage"
    plot(folder / "endpoints.svg", title, "endpoints of the service", "milliseconds", lines)


def _lines(
    runs: Sequence[Json], x: str, figure: Callable[[Json], float]
) -> dict[str, list[tuple[float, float]]]:
    return {name: [(run[x], figure(run[key])) for run in runs] for key, name in _NAMES.items()}


def _last_proxy(side: Json) -> float:
    return side["change"]["last_proxy_ms"]


def _change(side: Json) -> float:
    return side["change"]["cpu_ms"]


def _connect(side: Json) -> float:
    return side["connect"]["cpu_seconds"]


def _memory(side: Json) -> float:
    return side["memory_mib"]
