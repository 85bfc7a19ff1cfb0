"""Glob matches as a trie over the dotted fields of a name, so that hundreds of them cost what a few do.

`*` stands for one whole field. In order, the earliest of the matching rules wins; without order, the most
specific at each level from the left (statsd_exporter's README, "Ordering glob rules").
"""

from dataclasses import dataclass, field

NO_RULE = 1 << 62


@dataclass(slots=True)
class _Node:
    children: "dict[str, _Node]" = field(default_factory=dict[str, "_Node"])
    star: "_Node | None" = None
    rule: int = NO_RULE
    earliest: int = NO_RULE
    """The least rule at or below this node: what a search may skip."""


class GlobTrie:
    """Rules by their index; added at the start, then only asked."""

    def __init__(self, *, ordered: bool) -> None:
        self._root = _Node()
        self._ordered = ordered

    def add(self, match: str, rule: int) -> None:
        """Add a rule. Of two with the same match the first stays."""
        node = self._root
        node.earliest = min(node.earliest, rule)
        for part in match.split("."):
            if part == "*":
                node.star = node.star or _Node()
                node = node.star
            else:
                node = node.children.setdefault(part, _Node())
            node.earliest = min(node.earliest, rule)
        node.rule = min(node.rule, rule)

    def find(self, name: str) -> tuple[int, list[str]] | None:
        """The rule that matches, and what its stars stood for."""
        fields = name.split(".")
        best, captured = NO_RULE, list[str]()
        # Each entry is a branch not yet walked. A node has one parent, so that none is walked twice.
        branches: list[tuple[_Node, int, list[str]]] = [(self._root, 0, [])]
        while branches:
            node, depth, captures = branches.pop()
            if node.earliest >= best:
                continue
            if depth == len(fields):
                if node.rule < best:
                    best, captured = node.rule, captures
                    if not self._ordered:
                        break
                continue
            part = fields[depth]
            if node.star is not None:
                branches.append((node.star, depth + 1, [*captures, part]))
            if (child := node.children.get(part)) is not None:
                branches.append((child, depth + 1, captures))
        return None if best == NO_RULE else (best, captured)
