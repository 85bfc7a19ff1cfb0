"""The kinds that are served now: those of the table, and custom ones that come and go."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from isthmus.lab.apiserver.kinds import BUILT_IN
from isthmus.lab.apiserver.resource import Resource


class Kinds:
    """The kinds that are served, found by path and in the order of discovery."""

    def __init__(self, resources: Iterable[Resource] = BUILT_IN) -> None:
        self._by_path = {(one.group, one.version, one.plural): one for one in resources}
        self._custom: dict[tuple[str, str], Sequence[Resource]] = {}

    def define(self, group: str, plural: str, versions: Sequence[Resource]) -> None:
        """Serve a custom kind at these versions from now on, the preferred one first; or no longer."""
        if versions:
            self._custom[group, plural] = versions
        else:
            self._custom.pop((group, plural), None)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The kind at `/apis/GROUP/VERSION/PLURAL`, if it is served."""
        custom = (one for one in self._custom.get((group, plural), ()) if one.version == version)
        return self._by_path.get((group, version, plural)) or next(custom, None)

    def named(self, group: str, plural: str) -> Resource | None:
        """The kind of that group, whatever its version."""
        return next((one for one in self if (one.group, one.plural) == (group, plural)), None)

    def __iter__(self) -> Iterator[Resource]:
        return chain(self._by_path.values(), *self._custom.values())

    def stored(self) -> Iterator[Resource]:
        """Every kind that has objects of its own, once, whatever its versions."""
        return iter({one.place: one for one in self if one.view is None}.values())

    def versions(self) -> dict[str, list[str]]:
        """The versions of each group, the preferred one first."""
        groups: dict[str, list[str]] = {}
        for one in self:
            versions = groups.setdefault(one.group, [])
            if one.version not in versions:
                versions.append(one.version)
        return groups
