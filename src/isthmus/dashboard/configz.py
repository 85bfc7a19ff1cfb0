"""`/debug/configz`: the mesh's configuration objects, which are in force, and why others are not."""

from collections.abc import Iterable, Mapping
from typing import Any

from isthmus.config.store import ConfigStore
from isthmus.kube.decoding import Ref


def describe_objects(
    stores: Iterable[ConfigStore[Any]], idle: Mapping[str, Mapping[Ref, str]]
) -> list[dict[str, Any]]:
    """One row for each object, sorted by kind, namespace and name.

    `inForce`: some version of it is. `rejected` is "" where that is the latest; otherwise it names the field
    of the latest version that must be corrected. `idle` says why an object that is in force has no effect, ""
    where it may have one; so it is given by kind.
    """
    rows: list[dict[str, Any]] = []
    for store in stores:
        in_force = store.all()
        for ref in in_force.keys() | store.rejected.keys():
            refusal = store.rejected.get(ref)
            rows.append(
                {
                    "kind": store.kind.source.kind,
                    "namespace": ref.namespace,
                    "name": ref.name,
                    "inForce": ref in in_force,
                    "rejected": "" if refusal is None else f"{refusal.field}: {refusal.reason}",
                    "idle": idle.get(store.kind.source.kind, {}).get(ref, ""),
                }
            )
    return sorted(rows, key=lambda row: (row["kind"], row["namespace"], row["name"]))
