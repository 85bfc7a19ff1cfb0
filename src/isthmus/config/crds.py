"""CustomResourceDefinitions out of the msgspec types: `python -m isthmus.config.crds FOLDER` writes them all.

What only code can check is checked by whoever reads the objects.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from isthmus.config import peer_authentication, policy
from isthmus.config.schemas import schema_of


@dataclass(frozen=True, slots=True)
class Definition:
    """One kind. All `versions` are served with one schema, the first is stored.

    `columns` are kubectl's: name → (JSON path, type). Without a `status` type any status is kept as it is.
    """

    group: str
    versions: tuple[str, ...]
    plural: str
    kind: str
    spec: Any
    status: type[msgspec.Struct] | None
    columns: Mapping[str, tuple[str, str]]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


DEFINITIONS = (
    Definition(
        policy.GROUP,
        (policy.VERSION,),
        policy.PLURAL,
        policy.KIND,
        policy.PolicySpec,
        policy.PolicyStatus,
        {
            "Accepted": (".status.accepted", "boolean"),
            "Reason": (".status.reason", "string"),
            "Age": (".metadata.creationTimestamp", "date"),
        },
    ),
    Definition(
        peer_authentication.GROUP,
        peer_authentication.VERSIONS,
        peer_authentication.PLURAL,
        peer_authentication.KIND,
        peer_authentication.CHECKED_SPEC,
        None,
        {
            "Mode": (".spec.mtls.mode", "string"),
            "Age": (".metadata.creationTimestamp", "date"),
        },
        short_names=("pa",),
        categories=("istio-io", "security-istio-io"),
    ),
)


_ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def file_name(definition: Definition) -> str:
    """The file of a definition: `policy.yaml`."""
    return f"{definition.kind.lower()}.yaml"


def crd_yaml(definition: Definition) -> str:
    """The whole object, as it is checked in."""
    return yaml.dump(crd(definition), Dumper=_WithoutAliases, sort_keys=False, width=120)


class _WithoutAliases(yaml.SafeDumper):
    """What stands in two places is written twice: people read the file."""

    def ignore_aliases(self, data: Any) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Always."""
        return True


def crd(definition: Definition) -> dict[str, Any]:
    """The CustomResourceDefinition as a plain object."""
    singular = definition.kind.lower()
    status = _ANYTHING if definition.status is None else schema_of(definition.status)
    schema = {
        "type": "object",
        "properties": {"spec": schema_of(definition.spec), "status": status},
    }
    stored = definition.versions[0]
    versions: list[dict[str, Any]] = [
        {
            "name": version,
            "served": True,
            "storage": version == stored,
            "subresources": {"status": {}},
            "additionalPrinterColumns": [
                {"name": name, "jsonPath": path, "type": type_}
                for name, (path, type_) in definition.columns.items()
            ],
            "schema": {"openAPIV3Schema": schema},
        }
        for version in definition.versions
    ]
    lists = {"shortNames": definition.short_names, "categories": definition.categories}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{definition.plural}.{definition.group}"},
        "spec": {
            "group": definition.group,
            "names": {
                "kind": definition.kind,
                "listKind": f"{definition.kind}List",
                "plural": definition.plural,
                "singular": singular,
                **{name: list(values) for name, values in lists.items() if values},
            },
            "scope": "Namespaced",
            "versions": versions,
        },
    }


def main() -> None:
    """Write every definition into the folder that is named."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for definition in DEFINITIONS:
        (folder / file_name(definition)).write_text(crd_yaml(definition))


if __name__ == "__main__":
    main()
