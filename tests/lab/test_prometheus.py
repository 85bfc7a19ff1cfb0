"""What the lab's Prometheus scrapes, and what is said where there is none."""

import os
import subprocess
import sys
from typing import Any

from isthmus.lab.prometheus.scraping import target_groups


def pod(
    name: str, *ports: tuple[str, int], ip: str = "10.0.0.1", native: bool = False, **metadata: Any
) -> Any:
    containers = [{"name": "c", "ports": [{"name": n, "containerPort": p} for n, p in ports]}]
    spec = {"containers": [], "initContainers": containers} if native else {"containers": containers}
    return {
        "metadata": {"name": name, "namespace": "demo", **metadata},
        "spec": spec,
        "status": {"podIP": ip} if ip else {},
    }


def test_every_sidecar_and_the_bridge_are_targets_and_nothing_else() -> None:
    envoy, bridge = ("http-envoy-prom", 15090), ("statsd-prom", 9102)
    found = target_groups(
        [
            ("west", pod("echo", ("http", 8080), envoy)),
            ("east", pod("job", envoy, ip="fd00::1", native=True)),
            (
                "west",
                pod(
                    "bridge",
                    bridge,
                    ("statsd-udp", 9125),
                    ip="10.0.0.2",
                    labels={"istio": "statsd-prom-bridge"},
                ),
            ),
            ("west", pod("other", bridge, ip="10.0.0.3")),
            ("west", pod("starting", envoy, ip="")),
            ("west", pod("ending", envoy, ip="10.0.0.4", deletionTimestamp="2026-01-01T00:00:00Z")),
        ]
    )
    assert [(one["targets"], one["labels"]["cluster"], one["labels"]["pod"]) for one in found] == [
        (["[fd00::1]:15090"], "east", "job"),
        (["10.0.0.1:15090"], "west", "echo"),
        (["10.0.0.2:9102"], "west", ""),
    ]
    assert [one["labels"].get("__metrics_path__") for one in found] == ["/stats/prometheus"] * 2 + [None]


def test_a_machine_without_prometheus_is_told_the_way_and_nothing_is_made() -> None:
    command = [sys.executable, "-m", "isthmus.cli.main", "lab", "up", "--prometheus"]
    done = subprocess.run(command, env={**os.environ, "PATH": ""}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "run `apt-get install prometheus`" in done.stderr
