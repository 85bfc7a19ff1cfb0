"""The real etcd, kube-apiserver and kube-controller-manager of KUBEBUILDER_ASSETS."""

import os
from pathlib import Path

import msgspec

from isthmus.lab.plan import ClusterPlan


def find_assets() -> Path | None:
    """Where KUBEBUILDER_ASSETS points."""
    named = os.environ.get("KUBEBUILDER_ASSETS")
    return Path(named) if named else None


class _PlanFile(msgspec.Struct):
    name: str
    index: int


def load_plan(directory: Path) -> ClusterPlan:
    """The plan."""
    plan = msgspec.json.decode((directory / "plan.json").read_bytes(), type=_PlanFile)
    return ClusterPlan(plan.name, plan.index)


async def run_real_api_server(plan: ClusterPlan, directory: Path, assets: Path, ready: Path) -> None:
    """Later."""
