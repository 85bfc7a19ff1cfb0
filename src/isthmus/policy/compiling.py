"""A Policy's rules, checked and compiled: all of them, or the object is refused with the field and place."""

from collections.abc import Mapping
from typing import Any

from envoy.type.v3.http_status_pb2 import StatusCode

from isthmus.config.policy import (
    POLICY,
    DenyAction,
    HeadersAction,
    HeaderValue,
    Limit,
    ListAction,
    Policy,
    PolicyRef,
    PolicyRefused,
    PolicySpec,
    QuotaAction,
    Rule,
    read_policy,
)
from isthmus.config.policy_scope import about_requests
from isthmus.config.store import ConfigKind
from isthmus.policy.expressions import Expression, ExpressionRefused, compile_expression
from isthmus.policy.lists import EntryRefused, read_entries
from isthmus.policy.quotas import Bucket
from isthmus.policy.rules import (
    Action,
    ChangeHeaders,
    CheckList,
    CompiledLimit,
    CompiledPolicy,
    CompiledRule,
    Deny,
    HeaderEdit,
    Refusing,
    TakeQuota,
    list_source,
)
from isthmus.policy.vocabulary import Shape


def compile_policy(policy: Policy, *, root_namespace: str) -> CompiledPolicy:
    """Compile all of its rules. Raises PolicyRefused."""
    mesh_wide = policy.ref.namespace == root_namespace
    if not mesh_wide and policy.spec.selector.namespaces:
        reason = f"only policies of namespace {root_namespace} may select other namespaces"
        raise PolicyRefused(policy.ref, "spec.selector.namespaces", reason)
    if not mesh_wide and policy.spec.limits:
        reason = f"only policies of namespace {root_namespace} may have limits: a domain has no namespace"
        raise PolicyRefused(policy.ref, "spec.limits", reason)
    return CompiledPolicy(
        ref=policy.ref,
        selector=policy.spec.selector,
        mesh_wide=mesh_wide,
        rules=tuple(
            _Compiling(policy.ref, f"spec.rules[{index}]").rule(rule)
            for index, rule in enumerate(policy.spec.rules)
        ),
        limits=tuple(_limit(policy.ref, limit) for limit in policy.spec.limits),
    )


def compiled_policies(root_namespace: str) -> ConfigKind[PolicySpec]:
    """Policies for who must agree with the policy server on which version of each is in force: what cannot be
    compiled is refused.
    """

    def read(found: Mapping[str, Any]) -> PolicySpec:
        policy = read_policy(found)
        compile_policy(policy, root_namespace=root_namespace)
        return policy.spec

    return ConfigKind(POLICY.source, read)


def _limit(ref: PolicyRef, limit: Limit) -> CompiledLimit:
    label = f"{ref}/{limit.name}"
    return CompiledLimit(
        label=label,
        domain=limit.domain,
        entries=tuple((entry.key, entry.value) for entry in limit.entries),
        bucket=Bucket(label, limit.max, limit.window.total_seconds(), limit.algorithm),
        dry_run=limit.dry_run,
    )


class _Compiling:
    """One rule on its way; `path` names it in refusals."""

    def __init__(self, ref: PolicyRef, path: str) -> None:
        self._ref = ref
        self._path = path

    def rule(self, rule: Rule) -> CompiledRule:
        label = f"{self._ref}/{rule.name}"
        return CompiledRule(
            label=label,
            when=self._expression("when", rule.when, Shape.BOOL) if rule.when else None,
            absent=rule.absent,
            dry_run=rule.dry_run,
            about_requests=about_requests(rule),
            action=self._action(rule, label),
        )

    def _action(self, rule: Rule, label: str) -> Action:
        if rule.deny is not None:
            return Deny(self._refusing("deny", rule.deny))
        if rule.list is not None:
            return self._list(rule.list)
        if rule.quota is not None:
            return self._quota(rule.quota, label)
        assert rule.headers is not None, "a rule has one action: read_policy saw to that"
        return self._headers(rule.headers)

    def _list(self, action: ListAction) -> CheckList:
        try:
            entries = None if action.url else read_entries(action.kind, action.entries)
        except EntryRefused as error:
            field = f"{self._path}.list.entries[{error.index}]"
            raise PolicyRefused(self._ref, field, str(error)) from None
        return CheckList(
            value=self._expression("list.value", action.value, Shape.STRING),
            mode=action.mode,
            entries=entries,
            source=list_source(action) if action.url else None,
            refusing=self._refusing("list", action),
        )

    def _quota(self, action: QuotaAction, label: str) -> TakeQuota:
        return TakeQuota(
            key=self._expression("quota.key", action.key, Shape.STRING) if action.key else None,
            bucket=Bucket(label, action.max, action.window.total_seconds(), action.algorithm),
            refusing=self._refusing("quota", action),
        )

    def _refusing(self, field: str, action: DenyAction | ListAction | QuotaAction) -> Refusing:
        if action.status not in StatusCode.values():
            reason = f"{action.status} is no status that Envoy answers with"
            raise PolicyRefused(self._ref, f"{self._path}.{field}.status", reason)
        return Refusing(action.status, action.message)

    def _headers(self, action: HeadersAction) -> ChangeHeaders:
        def edits(field: str, values: tuple[HeaderValue, ...]) -> tuple[HeaderEdit, ...]:
            return tuple(self._edit(f"headers.{field}[{index}]", one) for index, one in enumerate(values))

        return ChangeHeaders(
            add=edits("request.add", action.request.add),
            set=edits("request.set", action.request.set),
            remove=action.request.remove,
            add_to_response=edits("response.add", action.response.add),
        )

    def _edit(self, field: str, edit: HeaderValue) -> HeaderEdit:
        if not edit.expression:
            return HeaderEdit(edit.name, edit.value)
        return HeaderEdit(edit.name, self._expression(f"{field}.expression", edit.expression, Shape.STRING))

    def _expression(self, field: str, text: str, wanted: Shape) -> Expression:
        try:
            return compile_expression(text, wanted)
        except ExpressionRefused as error:
            raise PolicyRefused(self._ref, f"{self._path}.{field}", str(error)) from None
