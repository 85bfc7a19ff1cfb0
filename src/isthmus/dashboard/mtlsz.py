"""`/debug/mtlsz`: what each workload accepts, and the PeerAuthentications that say so."""

from collections import Counter
from typing import Any

from isthmus.config.accepted_tls import Applying, PeerAuthentications
from isthmus.model.view import MeshView
from isthmus.model.workload import Workload


def describe_mtls(view: MeshView, peers: PeerAuthentications) -> list[dict[str, Any]]:
    """One row for the pods of one owner that are treated alike, sorted by cluster, namespace and owner.

    `mode` holds for all ports but those in `ports`. `by` is the object that decides it, "" where none does;
    `applied` are all that concern these pods, mesh, namespace, workload. Without a `sidecar` a pod takes
    plain text only, and nothing where mutual TLS is demanded.
    """
    alike: Counter[tuple[str, str, str, bool, Applying]] = Counter()
    for key in view.workloads():
        workload = view.workload(key)
        if workload is not None:
            found = peers.applying(key.namespace, workload.labels)
            alike[key.cluster, key.namespace, _owner(workload), workload.tls_capable, found] += 1
    rows = [
        {
            "cluster": cluster,
            "namespace": namespace,
            "workload": owner,
            "pods": pods,
            "sidecar": sidecar,
            "mode": found.accepted.mode.value,
            "ports": {str(port): mode.value for port, mode in found.accepted.ports},
            "by": str(found.deciding.ref) if found.deciding else "",
            "applied": [str(one.ref) for one in (found.mesh, found.namespace, found.workload) if one],
        }
        for (cluster, namespace, owner, sidecar, found), pods in alike.items()
    ]
    return sorted(rows, key=lambda row: (row["cluster"], row["namespace"], row["workload"], row["sidecar"]))


def _owner(workload: Workload) -> str:
    return workload.owner or workload.key.name
