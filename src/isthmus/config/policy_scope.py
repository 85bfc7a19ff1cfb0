"""Which destinations a Policy is about, and what of it concerns connections without requests. Pure.

Whoever puts checks into proxies and whoever answers them both use this module, so that they cannot disagree.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Protocol

from isthmus.config.policy import PolicySpec, Rule, Selector
from isthmus.config.policy_context import Destination

_LITERAL = re.compile(
    r'"""(?:\\.|[^\\])*?"""|\'\'\'(?:\\.|[^\\])*?\'\'\'|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'', re.S
)
_REQUEST = re.compile(r"\brequest\b")


class Policies(Protocol):
    """The policies that are in force."""

    def within(self, namespace: str) -> Mapping[str, PolicySpec]:
        """A namespace's, by name."""
        ...


def selects(selector: Selector, namespace: str, destination: Destination, *, mesh_wide: bool) -> bool:
    """Whether a policy of `namespace` is about a destination; `mesh_wide`: that is the root namespace."""
    if mesh_wide:
        chosen = not selector.namespaces or destination.namespace in selector.namespaces
    else:
        chosen = destination.namespace == namespace
    return chosen and all(
        destination.labels.get(label) == value for label, value in selector.match_labels.items()
    )


@lru_cache(maxsize=10_000)
def about_requests(rule: Rule) -> bool:
    """Whether a rule reads or changes the request: such a one says nothing of a connection without any."""
    if rule.headers is not None:
        return True
    texts = [rule.when]
    if rule.list is not None:
        texts.append(rule.list.value)
    if rule.quota is not None:
        texts.append(rule.quota.key)
    return any(_REQUEST.search(_LITERAL.sub("", text)) for text in texts)


def rules_for(policies: Policies, destination: Destination, *, root_namespace: str) -> Iterator[Rule]:
    """Every rule that may apply to a destination, in no order."""
    for namespace in {root_namespace, destination.namespace}:
        for spec in policies.within(namespace).values():
            if selects(spec.selector, namespace, destination, mesh_wide=namespace == root_namespace):
                yield from spec.rules
