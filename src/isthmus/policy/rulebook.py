"""All Policies: which version of each is in force, which was refused and why, and what applies to whom. Pure.

A version that cannot be compiled changes nothing: the last good one of its object stays. Policies of the root
namespace come first; then, and among them, by namespace and name.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.config.policy import Policy, PolicyRef, PolicyRefused, PolicySpec, policy_ref, read_policy
from isthmus.config.policy_context import Destination, destination_in, destination_of
from isthmus.policy.compiling import compile_policy
from isthmus.policy.plan import Plan
from isthmus.policy.rules import CheckList, CompiledLimit, CompiledPolicy, ListSource

_MOST_DESTINATIONS = 10_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an object's latest version; `refusal` None: it is in force."""

    ref: PolicyRef
    refusal: PolicyRefused | None
    policy: Policy | None = None


class Rulebook:
    """Owned by the event loop's callbacks; readers ask it anew for each request."""

    def __init__(self, *, root_namespace: str) -> None:
        self.rejected: dict[PolicyRef, PolicyRefused] = {}
        self._root_namespace = root_namespace
        self._in_force: dict[PolicyRef, tuple[PolicySpec, CompiledPolicy]] = {}
        self._plans: dict[tuple[tuple[CompiledPolicy, ...], bool], Plan] = {}
        self._destinations: dict[tuple[Hashable, bool], tuple[Destination, Plan]] = {}
        self._limits: dict[str, list[CompiledLimit]] = {}

    def apply(self, found: Mapping[str, Any]) -> Verdict:
        """A new version of an object, as the API server or a file has it."""
        ref = policy_ref(found)
        try:
            policy = read_policy(found)
            held = self._in_force.get(ref)
            if held is None or held[0] != policy.spec:
                self._in_force[ref] = policy.spec, compile_policy(policy, root_namespace=self._root_namespace)
                self._changed()
        except PolicyRefused as refusal:
            self.rejected[ref] = refusal
            return Verdict(ref, refusal)
        self.rejected.pop(ref, None)
        return Verdict(ref, None, policy)

    def remove(self, ref: PolicyRef) -> None:
        """The object is gone."""
        self.rejected.pop(ref, None)
        if self._in_force.pop(ref, None) is not None:
            self._changed()

    def policies(self) -> list[CompiledPolicy]:
        """Those in force, in the order in which they are asked."""
        ordered = sorted(self._in_force, key=lambda ref: (ref.namespace != self._root_namespace, ref))
        return [self._in_force[ref][1] for ref in ordered]

    def plan(self, context: str | Mapping[str, str], *, connection: bool = False) -> tuple[Destination, Plan]:
        """The destination that a filter's static context names (`context_text`, or `context_of`), and what
        applies to it; `connection`: to a connection that carries no requests.

        Raises ValueError where the context cannot be read.
        """
        key = (context if isinstance(context, str) else frozenset(context.items()), connection)
        found = self._destinations.get(key)
        if found is None:
            destination = destination_of(context) if isinstance(context, str) else destination_in(context)
            if len(self._destinations) >= _MOST_DESTINATIONS:
                self._destinations.clear()
            found = self._destinations[key] = destination, self.plan_for(destination, connection=connection)
        return found

    def plan_for(self, destination: Destination, *, connection: bool = False) -> Plan:
        """What applies to a destination: the same object for all to which the same policies do."""
        chosen = tuple(policy for policy in self.policies() if policy.rules and policy.selects(destination))
        key = chosen, connection
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = Plan(chosen, connection=connection)
        return plan

    def limits(self, domain: str) -> list[CompiledLimit]:
        """The limits of a domain, in order."""
        return self._limits.get(domain, [])

    def sources(self) -> set[ListSource]:
        """The lists that rules want fetched."""
        return {
            rule.action.source
            for policy in self.policies()
            for rule in policy.rules
            if isinstance(rule.action, CheckList) and rule.action.source is not None
        }

    def labels(self) -> Iterator[str]:
        """Every rule and limit in force."""
        for policy in self.policies():
            yield from (one.label for one in (*policy.rules, *policy.limits))

    def _changed(self) -> None:
        """Forget what depended on the old policies; plans that are still right are kept."""
        self._destinations.clear()
        current = {compiled for _, compiled in self._in_force.values()}
        self._plans = {key: plan for key, plan in self._plans.items() if current.issuperset(key[0])}
        self._limits = {}
        for policy in self.policies():
            for limit in policy.limits:
                self._limits.setdefault(limit.domain, []).append(limit)
