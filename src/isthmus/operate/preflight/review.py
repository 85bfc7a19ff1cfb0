"""What the operator may not do that joining clusters takes, by SelfSubjectAccessReviews.

Kubernetes grants a role only through somebody who has all of its rights (RBAC: privilege escalation
prevention), or the verb `escalate`; so each tier's own rules are asked for.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from isthmus.kube.client import Client
from isthmus.kube.kinds import untyped
from isthmus.operate.rights import TIERS, rights_objects

_REVIEWS = untyped(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)
_AT_ONCE = 8
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one resource; `namespace` is "" for the whole cluster, `name` for all of a kind."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        name = f" {self.name}" if self.name else ""
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{name}{where}"


class _Status(msgspec.Struct):
    allowed: bool = False


class _Review(msgspec.Struct):
    status: _Status


def needed_rights(namespace: str, *, control: bool) -> dict[str, tuple[Right, ...]]:
    """What is needed of the operator, by tier and for `join`."""
    if control:
        verbs = ("get", "list", "create", "patch", "delete")
        roles = (Right("create", _RBAC, plural, namespace) for plural in ("roles", "rolebindings"))
        join = tuple(Right(verb, "", "secrets", namespace) for verb in verbs)
        return {"join": join, "renew": tuple(roles)}
    made = [
        *(Right("create", _RBAC, plural) for plural in ("clusterroles", "clusterrolebindings")),
        *(Right("create", _RBAC, plural, namespace) for plural in ("roles", "rolebindings")),
        Right("create", "", "serviceaccounts", namespace),
        Right("create", "", "serviceaccounts/token", namespace),
        Right("get", "", "namespaces", "", "kube-system"),
    ]
    return {"join": tuple(made), **{tier: tuple(_granted(tier, namespace)) for tier in TIERS}}


async def missing_rights(client: Client, namespace: str, *, control: bool) -> dict[str, tuple[str, ...]]:
    """Those of the needed rights that this client's user has not. Raises ApiError and Unreachable."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def has(right: Right) -> bool:
        async with gate:
            return await _allowed(client, right)

    found: dict[str, tuple[str, ...]] = {}
    for tier, rights in needed_rights(namespace, control=control).items():
        allowed = await asyncio.gather(*(has(right) for right in rights))
        found[tier] = tuple(str(right) for right, may in zip(rights, allowed, strict=True) if not may)
    return found


def _granted(tier: str, namespace: str) -> Iterator[Right]:
    """What the roles of a tier grant."""
    for body in rights_objects((tier,), namespace):
        where = body["metadata"].get("namespace", "")
        rules: Iterable[dict[str, Any]] = body.get("rules", ())
        for rule in rules:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for name in rule.get("resourceNames", [""]):
                        yield from (Right(verb, group, resource, where, name) for verb in rule["verbs"])


async def _allowed(client: Client, right: Right) -> bool:
    resource, _, subresource = right.resource.partition("/")
    asked = {
        "verb": right.verb,
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
        "namespace": right.namespace,
        "name": right.name,
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {name: value for name, value in asked.items() if value}},
    }
    answer = await client.request("POST", _REVIEWS.path(), body=body)
    return msgspec.json.decode(answer, type=_Review).status.allowed
