"""The way back, pure: an injected pod in, the application's own pod out.

What the status annotation names goes, and rewritten probes become what they were. A list or mapping that was
only there for the sidecar goes with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from isthmus.inject.containers import PROXY, names_of
from isthmus.inject.probes import restore_probes, told_probes
from isthmus.inject.status import PARTS, STATUS, TLS_MODE, Status, read_status
from isthmus.inject.workload import Workload

Named = Sequence[Mapping[str, Any]]


def uninject(workload: Workload) -> dict[str, Any]:
    """The pod as it was before its injection; itself where it had none.

    An empty list or mapping of the application's, where the sidecar added something, is not written again.
    """
    status = read_status(workload)
    if status is None:
        return dict(workload.pod)
    pod = dict(workload.pod)
    metadata = _metadata(workload, status)
    if metadata:
        pod["metadata"] = metadata
    else:
        pod.pop("metadata", None)
    pod["spec"] = _spec(workload, status)
    return pod


def without_sidecar(workload: Workload) -> Workload:
    """The workload with the pod that it had before an earlier injection."""
    return replace(workload, pod=uninject(workload))


def _metadata(workload: Workload, status: Status) -> dict[str, Any]:
    labels = dict(workload.labels)
    for name in status.labels:
        if name != TLS_MODE or labels.get(name) == "istio":
            labels.pop(name, None)
    gone = {STATUS, *status.annotations}
    annotations = {key: value for key, value in workload.annotations.items() if key not in gone}
    metadata = dict(workload.metadata)
    for part, entries, before in (
        ("labels", labels, workload.labels),
        ("annotations", annotations, workload.annotations),
    ):
        if entries:
            metadata[part] = entries
        elif before:
            del metadata[part]
    return metadata


def _spec(workload: Workload, status: Status) -> dict[str, Any]:
    spec = dict(workload.spec)
    proxies: list[Any] = [
        item
        for part in ("containers", "initContainers")
        for item in cast("Named", spec.get(part) or [])
        if item["name"] == PROXY
    ]
    probes = status.probes if status.probes is not None else told_probes(proxies)
    for part in PARTS:
        present = cast("Named", spec.get(part) or [])
        added = status.added(part)
        kept = [item for item in present if item["name"] not in added]
        if part in ("containers", "initContainers"):
            kept = [restore_probes(item, probes) for item in kept]
        if names_of(kept) != names_of(present) or any(
            a is not b for a, b in zip(kept, present, strict=False)
        ):
            spec[part] = kept
        if present and not kept:
            del spec[part]
    return spec
