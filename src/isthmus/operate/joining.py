"""`isthmus cluster add`: a cluster joins the mesh, wholly or not at all.

Everything that can be refused is refused before anything is made; what a later failure finds made by this
run is unmade. Run again, it changes only what is not as it should be.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from isthmus.kube.access import Access
from isthmus.kube.client import running_client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import NAMESPACE, SECRET, untyped
from isthmus.kube.secret_kubeconfig import access_from_secret
from isthmus.lib.errors import UserError
from isthmus.operate.asking import NAMESPACES, SECRETS, Site, find, read_identity
from isthmus.operate.creation import Creation
from isthmus.operate.credential import Credential, copied_credential
from isthmus.operate.registration import LABEL, Registration, patch_body, read_registrations, secret_body
from isthmus.operate.rights import ACCOUNT, renewal_objects, rights_objects
from isthmus.operate.tokens import issue_credential, verify_access

_DEPLOYMENTS = untyped("apps", "v1", "deployments", "Deployment")
_LOOK = 3.0
"""Seconds that a joined cluster has for saying which one it is."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to join and how. `access` is the operator's, with the server that the control plane will use.

    `seconds` is how long a token is to last; `own_credential` stores the operator's instead of one.
    `tried_at` is where the credential is tried, if this machine cannot reach that server; None: right there.
    `allow_different`: another cluster may take the place of the one that has this name.
    """

    name: str
    namespace: str
    tiers: Sequence[str]
    access: Access
    seconds: int
    own_credential: bool = False
    tried_at: Access | None = None
    allow_different: bool = False


@dataclass(frozen=True, slots=True)
class Joined:
    """What was done. `secret` is `created`, `updated` or `unchanged`; `made` are new in the cluster."""

    name: str
    server: str
    secret: str
    account: str
    expires: datetime | None
    made: Sequence[str]


async def read_joined(control: Site, namespace: str) -> list[Registration]:
    """What the control plane's Secrets say. Raises UserError, also where the namespace is missing."""
    if await find(control, NAMESPACES, namespace) is None:
        raise UserError(
            f"{control.label}: Namespace {namespace} does not exist, where the control plane looks for "
            f"clusters; name another with --namespace, or run `kubectl create namespace {namespace}`."
        )
    with control.asking(f"list the cluster Secrets in Namespace {namespace}"):
        listing = await control.client.list(SECRET, namespace, label_selector=f"{LABEL}=true")
    return read_registrations(listing.items)


def planned_objects(wish: Wish) -> list[dict[str, Any]]:
    """What will be there in the cluster that joins, the namespace first."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": wish.namespace}}
    return [] if wish.own_credential else [namespace, *rights_objects(wish.tiers, wish.namespace)]


def planned_beside(wish: Wish) -> list[dict[str, Any]]:
    """What will be there in the control plane's cluster beside the Secret."""
    renewed = "renew" in wish.tiers and not wish.own_credential
    return renewal_objects(wish.name, wish.namespace) if renewed else []


def planned_secret(wish: Wish, identity: str) -> dict[str, Any]:
    """The Secret that will be there, without the credential, which is made only as it is stored."""
    account = "" if wish.own_credential else f"{wish.namespace}/{ACCOUNT}"
    credential = Credential(b"", wish.access.server, account, lifetime=0 if not account else wish.seconds)
    body = secret_body(wish.name, wish.namespace, credential, identity)
    return {name: value for name, value in body.items() if name != "data"}


async def check_wish(control: Site, remote: Site, wish: Wish) -> tuple[str, Registration | None]:
    """The identity of the cluster, and what it is joined by already under this name. Changes nothing.

    Raises UserError for a name or a cluster that is taken.
    """
    joined = await read_joined(control, wish.namespace)
    own, identity = await asyncio.gather(read_identity(control), read_identity(remote))
    if identity == own:
        raise UserError(
            f"{remote.label} is the control plane's own cluster, which needs no Secret; name the context of "
            "another."
        )
    if wish.name == await _own_name(control, wish.namespace):
        raise UserError(
            f"{wish.name} is the name of the control plane's own cluster; choose another for {remote.label}."
        )
    identities = await asyncio.gather(*(_identity(one) for one in joined))
    present: Registration | None = None
    for one, known in zip(joined, identities, strict=True):
        where = f"Secret {wish.namespace}/{one.secret}, key {one.name}"
        if one.name == wish.name:
            if known and known != identity and not wish.allow_different:
                raise UserError(
                    f"{where}, is another cluster (server {one.server}); choose another name, or say "
                    f"--allow-different-cluster if {remote.label} is to take its place."
                )
            if one.secret != wish.name or not one.alone:
                raise UserError(
                    f"{where}, names this cluster already, beside others or in a Secret of another name; "
                    f"first run `isthmus cluster remove {wish.name}`."
                )
            present = one
        elif known == identity:
            raise UserError(
                f"{remote.label} is joined already as {one.name} ({where}); keep that name, or first run "
                f"`isthmus cluster remove {one.name}`."
            )
    if present is None and await find(control, SECRETS, wish.name, wish.namespace) is not None:
        raise UserError(
            f"Secret {wish.namespace}/{wish.name} is there and not labelled {LABEL}=true; choose another "
            "name, or delete that Secret."
        )
    return identity, present


async def join(control: Site, remote: Site, wish: Wish) -> Joined:
    """Join the cluster. Raises UserError, with nothing left half-made."""
    identity, present = await check_wish(control, remote, wish)
    creation, beside = Creation(remote), Creation(control)
    try:
        for body in planned_objects(wish):
            await creation.ensure(body)
        for body in planned_beside(wish):
            await beside.ensure(body)
        if present is not None and present.access is not None and _lasts(present, identity, wish):
            with suppress(UserError):  # a token that was revoked: another is needed
                await verify_access(present.access, remote.label, identity, wish.tried_at)
                return Joined(
                    wish.name, present.server, "unchanged", present.account, present.expires, creation.made
                )
        credential = await _credential(remote, wish)
        stored = access_from_secret(credential.kubeconfig)
        await verify_access(stored, remote.label, identity, wish.tried_at)
        done = await store(control, wish.namespace, wish.name, credential, identity, present)
    except BaseException:
        await beside.undo()
        await creation.undo()
        raise
    return Joined(wish.name, credential.server, done, credential.account, credential.expires, creation.made)


async def store(
    control: Site,
    namespace: str,
    name: str,
    credential: Credential,
    identity: str,
    present: Registration | None,
) -> str:
    """Write the credential into the cluster's Secret in one step: `created` or `updated`."""
    if present is None:
        with control.asking(f"create Secret {namespace}/{name}"):
            await control.client.create(SECRETS, secret_body(name, namespace, credential, identity))
        return "created"
    with control.asking(f"change Secret {namespace}/{present.secret}"):
        patch = patch_body(name, credential, identity, present.resource_version)
        await control.client.patch(SECRETS, present.secret, patch, namespace)
    return "updated"


async def _credential(remote: Site, wish: Wish) -> Credential:
    if wish.own_credential:
        return copied_credential(wish.name, wish.access)
    return await issue_credential(remote, wish.name, wish.access, wish.namespace, wish.seconds)


def _lasts(present: Registration, identity: str, wish: Wish) -> bool:
    """Whether what is stored is what was wished for, with more than half of its time to go."""
    if present.identity != identity:
        return False
    if present.server != wish.access.server or wish.own_credential or present.expires is None:
        return False
    left = present.expires - datetime.now(UTC)
    return present.lifetime == wish.seconds and left > timedelta(seconds=wish.seconds / 2)


async def _identity(one: Registration) -> str:
    """Which cluster a Secret means: as it answers now, else as was noted, else ""."""
    if one.access is None:
        return one.identity
    try:
        async with asyncio.timeout(_LOOK), running_client(one.access, timeout=_LOOK) as client:
            return (await client.get(NAMESPACE, "kube-system")).metadata.uid
    except (ApiError, Unreachable, TimeoutError):
        return one.identity


async def _own_name(control: Site, namespace: str) -> str:
    """The control plane's own cluster's name: its Deployment's CLUSTER_ID, else the default."""
    try:
        found = await control.client.get(_DEPLOYMENTS, "istio-pilot", namespace)
    except (ApiError, Unreachable):
        return "Kubernetes"
    for container in found["spec"]["template"]["spec"]["containers"]:
        for variable in container.get("env") or ():
            if variable["name"] == "CLUSTER_ID":
                return str(variable.get("value", ""))
    return "Kubernetes"
