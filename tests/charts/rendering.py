"""The charts as helm renders them, parsed."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from isthmus.lab.helm import MAJOR
from tests.support.helm import run_helm

Object = dict[str, Any]

ROOT = Path(__file__).parents[2]
CHARTS = ROOT / "install/kubernetes/helm"
CONTROL_PLANE = CHARTS / "istio"
REMOTE = CHARTS / "istio-remote"
SYSTEM = "istio-system"
CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding"}


def manifest(chart: Path, *settings: str, namespace: str = SYSTEM, major: int = MAJOR) -> str:
    """What `helm template` prints, with each of `settings` given to `--set`."""
    done = _template(chart, settings, namespace, major)
    assert done[0] == 0, done[1]
    return done[1]


def render(chart: Path, *settings: str, namespace: str = SYSTEM) -> list[Object]:
    """The rendered objects."""
    return parse(manifest(chart, *settings, namespace=namespace))


def refusal(chart: Path, *settings: str) -> str:
    """What helm says when it refuses to render."""
    code, text = _template(chart, settings, SYSTEM, MAJOR)
    assert code != 0, text
    return text


def parse(text: str) -> list[Object]:
    """Every document that is not empty."""
    return [document for document in yaml.safe_load_all(text) if document]


def one(objects: Iterable[Object], kind: str, name: str) -> Object:
    """The only object of that kind and name."""
    (found,) = (item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name)
    return found


def names(objects: Iterable[Object], kind: str) -> set[str]:
    return {item["metadata"]["name"] for item in objects if item["kind"] == kind}


@cache
def _template(chart: Path, settings: Sequence[str], namespace: str, major: int) -> tuple[int, str]:
    chosen = [argument for setting in settings for argument in ("--set", setting)]
    command = ["template", chart.name, str(chart), "--namespace", namespace, *chosen]
    done = run_helm(command, major=major)
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr
