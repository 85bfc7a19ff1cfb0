"""What a CustomResourceDefinition says of one version of its kind, beyond the kind's address."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Definition:
    """`schema` is the version's structural schema, `columns` and `scale` are as the definition gives them."""

    list_kind: str
    singular: str
    storage_version: str
    schema: dict[str, Any]
    columns: tuple[dict[str, Any], ...] = ()
    scale: dict[str, Any] | None = None
    terminating: bool = False
    """Whether the definition is being deleted; no object is created any longer then."""
