"""`/debug/configz`: the mesh's configuration objects, which are in force, and why others are not."""

from collections.abc import Iterable
from typing import Any

from isthmus.config.store import ConfigStore


def describe_objects(stores: Iterable[ConfigStore[Any]]) -> list[dict[str, Any]]:
    """One row for each object, sorted by kind, namespace and name.

    `inForce`: some version of it is. `rejected` is "" where that is the latest; otherwise it names the field
    of the latest version that must be corrected.
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
                }
            )
    return sorted(rows, key=lambda row: (row["kind"], row["namespace"], row["name"]))
