"""`$1`, `${1}` and `${name}` in names and label values of a mapping.

As in statsd_exporter a reference takes all the letters, digits and underscores that follow (`$1_total` names
the group `1_total`; write `${1}_total`), and a group that the match does not have is empty. `$$` is a dollar.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_REFERENCE = re.compile(r"\$(?:\{(\w+)\}|(\w+)|(\$))", re.ASCII)


@dataclass(frozen=True, slots=True)
class Template:
    """Texts and group names in turn, beginning with a text."""

    texts: tuple[str, ...]
    groups: tuple[str, ...]

    def fill(self, captures: Mapping[str, str]) -> str:
        """The text with every group's capture in its place."""
        filled = [self.texts[0]]
        for group, text in zip(self.groups, self.texts[1:], strict=True):
            filled += (captures.get(group) or "", text)
        return "".join(filled)

    def unknown(self, groups: Collection[str]) -> list[str]:
        """The references that no group answers."""
        return [group for group in self.groups if group not in groups]


def read_template(text: str) -> Template:
    """Read a template; any text is one."""
    texts, groups, rest = [""], list[str](), 0
    for found in _REFERENCE.finditer(text):
        texts[-1] += text[rest : found.start()]
        rest = found.end()
        if found[3]:
            texts[-1] += "$"
        else:
            groups.append(found[1] or found[2])
            texts.append("")
    texts[-1] += text[rest:]
    return Template(tuple(texts), tuple(groups))
