"""`CLUSTER_DIR/plan.json`: how a cluster's processes learn which cluster they are."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from isthmus.lab.plan import ClusterPlan, plan_clusters

_NAME = "plan.json"


class _PlanFile(msgspec.Struct, frozen=True):
    name: str
    index: int
    clusters: list[str]


def write_plan(plan: ClusterPlan, clusters: Sequence[ClusterPlan]) -> None:
    """Write a cluster's file; `clusters` are all of the lab, in their order."""
    content = _PlanFile(plan.name, plan.index, [each.name for each in clusters])
    (plan.directory / _NAME).write_bytes(msgspec.json.encode(content))


def read_plan(directory: Path) -> ClusterPlan:
    """The cluster whose folder this is; OSError or ValueError where the file is missing or half-written."""
    content = msgspec.json.decode((directory / _NAME).read_bytes(), type=_PlanFile)
    return ClusterPlan(content.name, content.index)


def read_neighbours(directory: Path) -> list[ClusterPlan]:
    """All clusters of the lab that this one is part of; errors as for `read_plan`."""
    content = msgspec.json.decode((directory / _NAME).read_bytes(), type=_PlanFile)
    return plan_clusters(content.clusters)
