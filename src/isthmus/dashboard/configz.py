"""`/debug/configz`: the mesh's configuration objects in istiod's shape, and why some are not in force."""

from collections.abc import Iterable, Mapping
from typing import Any

from isthmus.config.store import ConfigStore
from isthmus.kube.decoding import Ref

_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "labels",
    "annotations",
)
"""What istiod shows (crd.ConvertConfig)."""


def describe_objects(
    stores: Iterable[ConfigStore[Any]], idle: Mapping[str, Mapping[Ref, str]]
) -> list[dict[str, Any]]:
    """One Kubernetes object for each, with `kind`, `apiVersion`, `metadata` and `spec`, sorted by kind,
    namespace and name: as it is in force, or its latest version where none is.

    Three fields are ours. `inForce`: some version of it is. `rejected` is "" where that is the latest;
    otherwise it names the field of the latest version that must be corrected. `idle` says why an object that
    is in force has no effect, "" where it may have one; so it is given by kind.
    """
    rows: list[dict[str, Any]] = []
    for store in sorted(stores, key=lambda store: store.kind.source.kind):
        source = store.kind.source
        for ref in sorted(store.objects):
            found, refusal = store.objects[ref], store.rejected.get(ref)
            rows.append(
                {
                    "kind": source.kind,
                    "apiVersion": source.api_version,
                    "metadata": {
                        key: found["metadata"][key] for key in _METADATA if key in found["metadata"]
                    },
                    "spec": found.get("spec") or {},
                    "inForce": store.get(ref) is not None,
                    "rejected": "" if refusal is None else f"{refusal.field}: {refusal.reason}",
                    "idle": idle.get(source.kind, {}).get(ref, ""),
                }
            )
    return rows
