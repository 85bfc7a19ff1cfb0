"""A joined cluster as the control plane's Secrets have it: what a Secret says, and how one is written. Pure.

The guide's form: a label, and a data key of the cluster's name that holds a kubeconfig. What we add is in
annotations and for people and renewal alone; the control plane serves a cluster without any of them.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from isthmus.clusters.annotations import ACCOUNT_OF, EXPIRES, IDENTITY, LIFETIME, ORIGIN
from isthmus.clusters.roster import read_claims
from isthmus.kube.access import Access
from isthmus.kube.objects import Secret
from isthmus.lib.errors import UserError
from isthmus.operate.credential import Credential

LABEL = "istio/multiCluster"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Registration:
    """One key of one Secret. `access` is None where its kubeconfig is refused; then `refusal` says why."""

    name: str
    secret: str
    resource_version: str
    alone: bool
    created: str
    access: Access | None = field(repr=False)
    refusal: str
    account: str
    origin: str
    identity: str
    expires: datetime | None
    lifetime: int
    annotations: Mapping[str, str] = field(repr=False)

    @property
    def server(self) -> str:
        """The URL of its API server, "" where that is not known."""
        return self.access.server if self.access else ""


def check_name(name: str) -> str:
    """The cluster's name, which is a Secret's name, a data key, and a part of statistics."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot be a cluster's name; use at most 63 small letters, digits and hyphens, "
            "a letter or digit first and last.",
            exit_code=2,
        )
    return name


def read_registrations(secrets: Iterable[Secret]) -> list[Registration]:
    """All of them, by name; in a clash the Secret that is in force (the oldest) comes first."""
    return sorted(
        (each for secret in secrets for each in _read(secret)),
        key=lambda one: (one.name, one.created, one.secret),
    )


def _read(secret: Secret) -> Iterable[Registration]:
    notes = secret.metadata.annotations
    alone = len(secret.data) == 1
    for claim in read_claims(secret):
        yield Registration(
            name=claim.cluster,
            secret=secret.metadata.name,
            resource_version=secret.metadata.resource_version,
            alone=alone,
            created=secret.metadata.creation_timestamp,
            access=claim.access,
            refusal=claim.refusal,
            account=notes.get(ACCOUNT_OF, "") if alone else "",
            origin=notes.get(ORIGIN, "") if alone else "",
            identity=notes.get(IDENTITY, "") if alone else "",
            expires=_time(notes.get(EXPIRES, "")) if alone else None,
            annotations=notes,
            lifetime=int(notes[LIFETIME]) if alone and notes.get(LIFETIME, "").isdecimal() else 0,
        )


def secret_body(name: str, namespace: str, credential: Credential, identity: str) -> dict[str, Any]:
    """The Secret of a cluster. A merge patch with the same content is `patch_body`."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {LABEL: "true"},
            "annotations": {k: v for k, v in _notes(credential, identity).items() if v is not None},
        },
        "data": {name: base64.b64encode(credential.kubeconfig).decode()},
    }


def patch_body(name: str, credential: Credential, identity: str, resource_version: str) -> dict[str, Any]:
    """A merge patch to this credential, refused (409) where the Secret is not at that version any more."""
    return {
        "metadata": {"resourceVersion": resource_version, "annotations": _notes(credential, identity)},
        "data": {name: base64.b64encode(credential.kubeconfig).decode()},
    }


def _notes(credential: Credential, identity: str) -> dict[str, str | None]:
    expires = credential.expires
    return {
        ORIGIN: "token" if credential.account else "copied",
        ACCOUNT_OF: credential.account or None,
        LIFETIME: str(credential.lifetime) if credential.lifetime else None,
        EXPIRES: None if expires is None else expires.astimezone(UTC).isoformat(timespec="seconds"),
        IDENTITY: identity,
    }


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)
