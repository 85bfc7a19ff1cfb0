"""Objects that a command makes in a cluster, and unmakes again where the command fails."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import Kind, untyped
from isthmus.lib.errors import UserError
from isthmus.operate.asking import ACCOUNTS, NAMESPACES, Site, find

_RBAC = "rbac.authorization.k8s.io"
_KINDS: Mapping[str, Kind[dict[str, Any]]] = {
    "Namespace": NAMESPACES,
    "ServiceAccount": ACCOUNTS,
    "Role": untyped(_RBAC, "v1", "roles", "Role"),
    "RoleBinding": untyped(_RBAC, "v1", "rolebindings", "RoleBinding"),
    "ClusterRole": untyped(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
    "ClusterRoleBinding": untyped(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
}
_CONTENT = ("rules", "subjects")
"""What of an object that is there must be as we want it; a binding's roleRef can never change."""


class Creation:
    """What one run made in one cluster, newest last."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._made: list[tuple[Kind[dict[str, Any]], str, str, str]] = []
        self._before: list[tuple[Kind[dict[str, Any]], str, str, dict[str, Any]]] = []

    @property
    def made(self) -> list[str]:
        """The objects that were not there, as `Kind namespace/name`."""
        return [_title(kind.kind, name, namespace) for kind, name, namespace, _ in self._made]

    async def ensure(self, body: dict[str, Any]) -> None:
        """Have the object there, its rules or subjects as given. Raises UserError."""
        kind, name, namespace = _where(body)
        title = _title(kind.kind, name, namespace)
        found = await find(self._site, kind, name, namespace)
        if found is None:
            with self._site.asking(f"create {title}"):
                made = await self._site.client.create(kind, body, namespace or None)
            self._made.append((kind, name, namespace, str(made["metadata"]["uid"])))
            return
        if "deletionTimestamp" in found["metadata"]:
            raise UserError(f"{self._site.label}: {title} is being deleted; run again when it is gone.")
        wanted = {field: body[field] for field in _CONTENT if field in body}
        present: dict[str, Any] = {field: found.get(field) for field in wanted}
        if not all(_same(present[field], wanted[field]) for field in wanted):
            with self._site.asking(f"change {title}"):
                await self._site.client.patch(kind, name, wanted, namespace or None)
            self._before.append((kind, name, namespace, present))

    async def undo(self) -> None:
        """Take away what was made and put back what was changed, as far as the cluster lets us."""
        client = self._site.client
        with suppress(Unreachable):
            for kind, name, namespace, before in reversed(self._before):
                with suppress(ApiError):
                    await client.patch(kind, name, before, namespace or None)
            for kind, name, namespace, uid in reversed(self._made):
                with suppress(ApiError):
                    await client.delete(kind, name, namespace or None, uid=uid)


async def take_away(site: Site, bodies: list[dict[str, Any]]) -> list[str]:
    """Delete these objects, last first; those that were there, as `Kind namespace/name`."""
    gone: list[str] = []
    for body in reversed(bodies):
        kind, name, namespace = _where(body)
        title = _title(kind.kind, name, namespace)
        if await find(site, kind, name, namespace) is not None:
            with site.asking(f"delete {title}"):
                await site.client.delete(kind, name, namespace or None)
            gone.append(title)
    return gone


def _where(body: dict[str, Any]) -> tuple[Kind[dict[str, Any]], str, str]:
    metadata = body["metadata"]
    return _KINDS[body["kind"]], metadata["name"], metadata.get("namespace", "")


def _title(kind: str, name: str, namespace: str) -> str:
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def _same(left: Any, right: Any) -> bool:
    """Equal, but for the fields that a server fills in (`apiGroup` of a subject)."""
    found, wanted = cast("list[dict[str, Any]]", left or []), cast("list[dict[str, Any]]", right)
    pairs = zip(found, wanted, strict=False)
    return len(found) == len(wanted) and all({**one, **other} == one for one, other in pairs)
