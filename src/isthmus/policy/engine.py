"""The decision about one request: rules in order, the first that refuses ends it. No I/O but the quotas'.

What a rule does where something is absent, unless its `absent` says it: a missing proof, list value or quota
key, and an expression that fails, count as a match of what refuses, since refusing is the safe side; whatever
else is missing, such as a header, matches nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from isthmus.config.policy import Absent, ListMode
from isthmus.policy.expressions import Unevaluated
from isthmus.policy.lists import Entries
from isthmus.policy.plan import Answer, Asked, Plan
from isthmus.policy.quotas import Quotas
from isthmus.policy.rules import (
    ChangeHeaders,
    CheckList,
    CompiledRule,
    Deny,
    HeaderEdit,
    ListSource,
    Refusing,
    TakeQuota,
)
from isthmus.policy.tally import Outcome, Tally
from isthmus.policy.vocabulary import Attributes

_NO_KEY = "\0absent"


@dataclass(frozen=True, slots=True)
class Denial:
    """Which rule refused, how, and why. `retry_after` in seconds, for quotas."""

    label: str
    refusing: Refusing
    why: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one rule, for people."""

    label: str
    outcome: Outcome
    why: str
    dry_run: bool


@dataclass(slots=True)
class Headers:
    """Changes of headers, in order."""

    add: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    set: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    remove: list[str] = field(default_factory=list[str])
    add_to_response: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


@dataclass(frozen=True, slots=True)
class Decision:
    """`denial` None: allowed, with `headers` changed where that is not None."""

    denial: Denial | None = None
    headers: Headers | None = None


ALLOWED = Decision()
Lists = Callable[[ListSource], Entries | None]
"""The latest version of a list that is fetched; None before its first."""


async def decide(
    plan: Plan,
    attributes: Attributes,
    *,
    lists: Lists,
    quotas: Quotas,
    tally: Tally,
    trace: list[Step] | None = None,
) -> Decision:
    """Decide. `trace` gets a step for each rule that was looked at."""
    asked = plan.ask(attributes)
    if trace is None and not any(asked.answers):
        return ALLOWED
    return await _Deciding(asked, lists, quotas, tally, trace).run(plan.rules)


@dataclass(slots=True)
class _Deciding:
    asked: Asked
    lists: Lists
    quotas: Quotas
    tally: Tally
    trace: list[Step] | None
    headers: Headers | None = None

    async def run(self, rules: Sequence[CompiledRule]) -> Decision:
        for rule, answer in zip(rules, self.asked.answers, strict=True):
            if answer is False:
                if self.trace is not None:
                    self._note(rule, Outcome.NO_MATCH, self.asked.found(rule))
                continue
            why = _match(rule, answer)
            if why is None:
                assert isinstance(answer, Unevaluated)
                self._note(rule, Outcome.SKIPPED, answer.reason)
                continue
            denial = await self._act(rule, why)
            if denial is not None and not rule.dry_run:
                return Decision(denial)
        return Decision(headers=self.headers)

    async def _act(self, rule: CompiledRule, why: str) -> Denial | None:
        """Take the rule's action; its denial where it refuses."""
        match rule.action:
            case Deny(refusing):
                denial = Denial(rule.label, refusing, why)
            case CheckList():
                denial = self._check_list(rule, rule.action)
            case TakeQuota():
                denial = await self._take_quota(rule, rule.action)
            case ChangeHeaders():
                self._change_headers(rule, rule.action)
                return None
        if denial is not None:
            self._note(rule, Outcome.DENIED, denial.why)
        return denial

    def _check_list(self, rule: CompiledRule, action: CheckList) -> Denial | None:
        value = self.asked.text(action.value)
        if isinstance(value, Unevaluated):
            if rule.absent is Absent.SKIP:
                self._note(rule, Outcome.SKIPPED, value.reason)
                return None
            return Denial(rule.label, action.refusing, value.reason)
        entries = self.lists(action.source) if action.source is not None else action.entries
        listed = entries is not None and entries.holds(value)
        why = f"`{value[:200]}` is {'' if listed else 'not '}on the list"
        if entries is None:
            why = "its list was not read yet"
        if listed == (action.mode is ListMode.DENY):
            return Denial(rule.label, action.refusing, why)
        self._note(rule, Outcome.MATCHED, why)
        return None

    async def _take_quota(self, rule: CompiledRule, action: TakeQuota) -> Denial | None:
        key = "" if action.key is None else self.asked.text(action.key)
        if isinstance(key, Unevaluated):
            if rule.absent is Absent.SKIP:
                self._note(rule, Outcome.SKIPPED, key.reason)
                return None
            key = _NO_KEY
        taken = await self.quotas.take(action.bucket, key)
        if taken.allowed:
            self._note(rule, Outcome.MATCHED, f"{taken.remaining} of {action.bucket.most} are left")
            return None
        why = f"{action.bucket.most} in {action.bucket.window:g} s are used up"
        return Denial(rule.label, action.refusing, why, max(0.0, taken.reset))

    def _change_headers(self, rule: CompiledRule, action: ChangeHeaders) -> None:
        changed = Headers() if rule.dry_run else self.headers or Headers()
        skipped = [
            *self._edit(action.add, changed.add),
            *self._edit(action.set, changed.set),
            *self._edit(action.add_to_response, changed.add_to_response),
        ]
        changed.remove += action.remove
        if not rule.dry_run:
            self.headers = changed
        self._note(rule, Outcome.MATCHED, "; ".join(skipped) or "its headers are changed")

    def _edit(self, edits: Sequence[HeaderEdit], into: list[tuple[str, str]]) -> list[str]:
        """Add the edits' values; why some have none."""
        skipped: list[str] = []
        for edit in edits:
            value = edit.value if isinstance(edit.value, str) else self.asked.text(edit.value)
            if isinstance(value, Unevaluated):
                skipped.append(f"{edit.name} is left: {value.reason}")
            else:
                into.append((edit.name, value))
        return skipped

    def _note(self, rule: CompiledRule, outcome: Outcome, why: str) -> None:
        self.tally.count(rule.label, outcome, dry_run=rule.dry_run, why=why)
        if self.trace is not None:
            self.trace.append(Step(rule.label, outcome, why, rule.dry_run))


def _match(rule: CompiledRule, answer: Answer) -> str | None:
    """Why the rule's action is taken, None where it is not."""
    if not isinstance(answer, Unevaluated):
        return "its condition holds" if rule.when is not None else "it has no condition"
    matches = (
        answer.unsafe and not isinstance(rule.action, ChangeHeaders)
        if rule.absent is None
        else rule.absent is Absent.MATCH
    )
    return answer.reason if matches else None
