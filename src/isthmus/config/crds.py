"""CustomResourceDefinitions out of the msgspec types: `python -m isthmus.config.crds FOLDER` writes them all.

The schema is structural (apiextensions/v1): no references, a type at every level. It says what the types say,
and the rules in CEL that they carry; what only code can check is checked by whoever reads the objects.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml
from msgspec import inspect

from isthmus.config import peer_authentication, policy
from isthmus.config.durations import Duration


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
    status = _ANYTHING if definition.status is None else _schema(inspect.type_info(definition.status))
    schema = {
        "type": "object",
        "properties": {"spec": _schema(inspect.type_info(definition.spec)), "status": status},
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


def _schema(info: inspect.Type) -> dict[str, Any]:
    match info:
        case inspect.StructType():
            return _object(info)
        case inspect.StrType():
            return {
                "type": "string",
                **_given(minLength=info.min_length, maxLength=info.max_length, pattern=info.pattern),
            }
        case inspect.IntType():
            wide = info.le is None or info.le > 2**31 - 1
            return {
                "type": "integer",
                "format": "int64" if wide else "int32",
                **_given(minimum=info.ge, maximum=info.le),
            }
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.EnumType():
            return {"type": "string", "enum": [member.value for member in info.cls]}
        case inspect.VarTupleType():
            items = _schema(info.item_type)
            return {
                "type": "array",
                "items": items,
                **_given(minItems=info.min_length, maxItems=info.max_length),
            }
        case inspect.DictType():
            return {
                "type": "object",
                "additionalProperties": _schema(info.value_type),
                **_given(minProperties=info.min_length, maxProperties=info.max_length),
            }
        case inspect.UnionType():
            (known,) = (one for one in info.types if not isinstance(one, inspect.NoneType))
            return _schema(known)
        case inspect.CustomType() if info.cls is Duration:
            return {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"}
        case inspect.Metadata():
            extra = cast("dict[str, Any]", info.extra_json_schema or {})  # pyright: ignore[reportUnknownMemberType]
            return _schema(info.type) | extra
        case _:
            raise TypeError(f"a CRD cannot say {info}")


def _object(info: inspect.StructType) -> dict[str, Any]:
    required = [field.encode_name for field in info.fields if field.required]
    text = (info.cls.__doc__ or "").partition("\n\n")[0]
    lines = re.sub(r"`(\w+)`", lambda name: _camel(name[1]), text).split()
    return {
        "type": "object",
        "description": " ".join(lines),
        **({"required": required} if required else {}),
        "properties": {field.encode_name: _schema(field.type) for field in info.fields},
    }


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.title() for part in others)


def _given(**limits: Any) -> dict[str, Any]:
    return {name: value for name, value in limits.items() if value is not None}


def main() -> None:
    """Write every definition into the folder that is named."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for definition in DEFINITIONS:
        (folder / file_name(definition)).write_text(crd_yaml(definition))


if __name__ == "__main__":
    main()
