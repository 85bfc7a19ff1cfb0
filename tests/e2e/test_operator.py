"""An operator's commands, as a shell runs them: a mesh comes and goes by them, and what is wrong is said."""

import json
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from isthmus.lab.helm import find_helm
from isthmus.lab.network import inside
from isthmus.lab.plan import HUB_NETNS, STATE, plan_clusters
from tests.e2e.commands import Object, Result, everything, isthmus, kubectl, own_of
from tests.e2e.conftest import THREE
from tests.operate.desk import merge_kubeconfigs

PLANS = {plan.name: plan for plan in plan_clusters([*THREE])}
CRDS = Path(__file__).parents[2] / "install/kubernetes/helm/istio/crds"
SYSTEM = "istio-system"
TRUSTED = "istio-ca-root-cert"


class Operator:
    """Somebody with one kubeconfig for all clusters, west's context the current one."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def tries(self, *words: str) -> Result:
        return isthmus(*words, KUBECONFIG=str(self.kubeconfig), HELM_PATH=str(find_helm()), timeout=240)

    def types(self, *words: str) -> str:
        done = self.tries(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def rows(self) -> dict[str, Any]:
        return {row["name"]: row for row in json.loads(self.types("cluster", "list", "-o", "json"))}

    def until_fresh(self, *names: str) -> None:
        """Until the control plane has these clusters, and no others, and all of them are well."""
        deadline = time.monotonic() + 60
        while True:
            states = {name: row["state"] for name, row in self.rows().items()}
            if states == dict.fromkeys(names, "fresh"):
                return
            assert time.monotonic() < deadline, states


@pytest.fixture
def operator(three_clusters: None, tmp_path: Path) -> Operator:
    contexts = [(STATE / name / "kubeconfig").read_bytes() for name in THREE]
    return Operator(merge_kubeconfigs(tmp_path / "kubeconfig", *contexts))


@contextmanager
def unroutable_pods(cluster: str) -> Generator[None]:
    """Nobody outside of the cluster reaches its pods; its API server is not touched."""
    halves = [str(half) for half in PLANS[cluster].pod_cidr.subnets()]
    try:
        for half in halves:
            subprocess.run(inside(HUB_NETNS, ["ip", "route", "add", "blackhole", half]), check=True)
        yield
    finally:
        for half in halves:
            subprocess.run(inside(HUB_NETNS, ["ip", "route", "del", "blackhole", half]), check=True)


def of_operators(cluster: str) -> set[Object]:
    """All that there is in a cluster, but what the control plane writes there in its own time."""
    kinds = ("Lease", "Endpoints", "EndpointSlice")
    names = (TRUSTED, "isthmus-last-known-")
    return {one for one in everything(cluster) if one[0] not in kinds and not one[2].startswith(names)}


def test_preflight_tries_the_network_and_says_what_is_wrong_with_it(operator: Operator) -> None:
    before = {name: everything(name) for name in THREE}
    found = json.loads(operator.types("preflight", *THREE, "--probe", "-o", "json"))
    levels = {(row["id"], row["level"]) for row in found}
    assert {
        ("pods-routable", "ok"),
        ("api-routable", "ok"),
        ("cidr-disjoint", "ok"),
        ("helm", "ok"),
    } <= levels
    with unroutable_pods("east"):
        done = operator.tries("preflight", *THREE, "--probe")
    assert done.returncode == 1
    errors = {line.partition(":")[0] for line in done.stdout.splitlines() if line.startswith("ERROR")}
    pairs = [(one, other) for one in THREE for other in THREE if one != other and "east" in (one, other)]
    assert errors == {f"ERROR   pods-routable [{one}, {other}]" for one, other in pairs}
    assert "route the pod CIDR of east to its nodes" in done.stdout
    assert {name: everything(name) for name in THREE} == before


def test_a_mesh_comes_and_goes_by_command(operator: Operator) -> None:
    before = {name: everything(name) for name in THREE}
    operator.types("install", "--context", "west", "--cluster-id", "west", "--wait")
    for name in ("east", "north"):
        joined = json.loads(operator.types("cluster", "add", name, "--context", name, "-o", "json"))
        assert joined["made"][0] == f"Namespace {SYSTEM}"
        operator.types("remote", "install", name, "--cluster-name", name)
    operator.until_fresh(*THREE)
    rows = operator.rows()
    assert rows["west"]["secret"] == ""
    assert rows["east"]["account"] == f"{SYSTEM}/istio-reader-service-account"
    assert rows["east"]["counts"]["services"] > 3
    assert operator.types("cluster", "list").splitlines()[1].split()[:2] == ["west", "fresh"]

    meshed = {name: of_operators(name) for name in THREE}
    for words, sentence in BAD:
        done = operator.tries(*words)
        assert done.returncode in (1, 2), words
        assert sentence in done.stderr, words
        assert done.stderr.count("\n") == 1, done.stderr
    assert {name: of_operators(name) for name in THREE} == meshed

    old = rows["east"]["token_expires"]
    operator.types("cluster", "rotate", "east")
    operator.until_fresh(*THREE)
    assert operator.rows()["east"]["token_expires"] >= old
    assert "leaves the mesh" in operator.types("cluster", "remove", "east", "--dry-run")
    for name in ("east", "north"):
        operator.types("cluster", "remove", name, "--purge", "--context", name, "--yes")
        operator.types("remote", "uninstall", name, "--yes")
    operator.until_fresh("west")
    operator.types("uninstall", "--yes")
    kubectl("west", "wait", "--for=delete", "pod", "--all", "-n", SYSTEM, "--timeout=60s")
    for name in THREE:
        left = {one for one in everything(name) - before[name] - own_of(SYSTEM) if one[2] != TRUSTED}
        stay = {one for one in left if one[0] in ("CustomResourceDefinition", "Secret", "ConfigMap", "Lease")}
        assert left == stay, "only CRDs, and what the control plane keeps in its namespace, stay"
        kubectl(name, "delete", "namespace", SYSTEM)
        kubectl(name, "delete", "configmap", "-A", "-l", "istio.io/config=true")
    kubectl("west", "delete", "-f", str(CRDS))
    assert {name: everything(name) for name in THREE} == before


BAD = (
    (("cluster", "add", "east", "--context", "north"), "is another cluster"),
    (("cluster", "add", "north2", "--context", "north"), "is joined already as north"),
    (("cluster", "add", "west", "--context", "west"), "the control plane's own cluster"),
    (("cluster", "add", "x", "--context", "nobody"), "nobody"),
    (("cluster", "add", "east", "--context", "east", "--server", PLANS["north"].api_url), "is not trusted"),
    (("cluster", "add", "east", "--context", "east", "--namespace", "nowhere"), "Namespace nowhere"),
    (("cluster", "show", "south"), "No cluster is called south"),
    (("cluster", "rotate", "south"), "south"),
    (("cluster", "remove", "east"), "--yes"),
    (("remote", "install", "west"), "takes no istio-remote"),
    (("remote", "install", "east", "--set", "global.pilotEndpoint=300.1.1.1"), "global.pilotEndpoint"),
    (("remote", "uninstall", "nobody", "--yes"), "nobody"),
    (("install", "--set", "pilot.replicaCount=many"), "replicaCount"),
)
"""What is typed wrongly, and a part of the sentence that answers."""
