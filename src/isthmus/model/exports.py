"""Whose proxies are told of a service (Istio: `exportTo`), by their namespaces.

It keeps configuration small and names apart; it keeps nobody from an address that they know otherwise.
"""

import re
from collections.abc import Iterable

ANNOTATION = "networking.istio.io/exportTo"

ExportTo = tuple[str, ...]
"""Entries as an object or the mesh config declares them, sorted: namespaces, or one of the below. () says
nothing.
"""
ALL, OWN, NONE = "*", ".", "~"

Audience = frozenset[str]
"""The namespaces that see a service; `EVERYBODY` is one of its own kind."""
EVERYBODY: Audience = frozenset({""})
NOBODY: Audience = frozenset()
PATTERN = r"^([.*~]|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)$"
"""Of an entry: one of the above, or a DNS label (RFC 1123), as a namespace's name must be."""
_ENTRY = re.compile(PATTERN)


def meaningful(entry: str) -> bool:
    """Whether that entry may stand in `exportTo` (Istio: `visibility.Validate`)."""
    return _ENTRY.fullmatch(entry) is not None


def read_export_to(text: str) -> tuple[ExportTo, tuple[str, ...]]:
    """A comma-separated list: what it declares, and the entries that mean nothing, in their order."""
    entries = [entry for part in text.split(",") if (entry := part.strip())]
    declared = {entry for entry in entries if meaningful(entry)}
    return tuple(sorted(declared)), tuple(entry for entry in entries if entry not in declared)


def audience(namespace: str, declared: Iterable[str]) -> Audience:
    """Who sees a service of that namespace: `*` outweighs all else and `~` the rest (Istio:
    `PushContext.initServiceRegistry`).
    """
    entries = frozenset(declared)
    if ALL in entries:
        return EVERYBODY
    if NONE in entries:
        return NOBODY
    return frozenset(namespace if entry == OWN else entry for entry in entries)
