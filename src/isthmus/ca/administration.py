"""What an operator sees of the CA and may ask of it: through the Secrets alone, whatever runs or does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from isthmus.ca.errors import MaterialRefused
from isthmus.ca.material import OPERATOR_CA, OWN_CA, read_signer
from isthmus.ca.own_secret import NEXT_STEP, WANTED, read_roots, read_time, write_time
from isthmus.ca.rotation import Phase
from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError
from isthmus.kube.kinds import SECRET
from isthmus.kube.objects import Secret
from isthmus.lib.errors import UserError


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """One trusted root: its subject, its serial number in hex and its end; `signs` while it does."""

    subject: str
    serial: str
    expires: datetime
    signs: bool


@dataclass(frozen=True, slots=True)
class Status:
    """The CA as a Secret has it. `phase` is None for the operator's, which the operator rotates.

    `next_step` (Unix seconds) is when the rotation goes on, None while nothing is under way or written down.
    """

    secret: str
    phase: Phase | None
    roots: tuple[TrustedRoot, ...]
    next_step: float | None = None
    rotation_wanted: bool = False


async def read_status(client: Client, namespace: str, now: datetime) -> Status:
    """The CA of the control plane in `namespace`. Raises UserError where there is none, or a bad one."""
    secret = await _in_force(client, namespace)
    ref = f"{namespace}/{secret.metadata.name}"
    try:
        signer = read_signer(ref, secret.data, now)
        own = None if secret.metadata.name == OPERATOR_CA else read_roots(secret)
    except MaterialRefused as refusal:
        raise UserError(f"{refusal}; correct it. What was in force before stays until a restart.") from None
    roots = tuple(
        TrustedRoot(
            one.subject.rfc4514_string(),
            f"{one.serial_number:x}",
            one.not_valid_after_utc,
            one == signer.roots[0],
        )
        for one in signer.roots
    )
    if own is None:
        return Status(ref, None, roots)
    annotations: Mapping[str, str] = secret.metadata.annotations
    next_step = read_time(annotations.get(NEXT_STEP, "")) if own.phase is not Phase.STEADY else None
    return Status(ref, own.phase, roots, next_step, WANTED in annotations)


async def want_rotation(client: Client, namespace: str, now: float) -> None:
    """Ask the control plane to begin a rotation. Raises UserError where that makes no sense."""
    secret = await _in_force(client, namespace)
    ref = f"{namespace}/{secret.metadata.name}"
    if secret.metadata.name == OPERATOR_CA:
        raise UserError(
            f"Secret {ref} holds your own CA, which only you can rotate: first add the new root to its "
            "root-cert.pem, and when that has reached every namespace, change ca-cert.pem and ca-key.pem."
        )
    try:
        phase = read_roots(secret).phase
    except MaterialRefused as refusal:
        raise UserError(f"{refusal}.") from None
    if phase is not Phase.STEADY:
        raise UserError(f"A rotation is under way in Secret {ref} ({phase.value}); wait until it has ended.")
    patch = {
        "metadata": {
            "resourceVersion": secret.metadata.resource_version,
            "annotations": {WANTED: write_time(now)},
        }
    }
    try:
        await client.patch(SECRET, OWN_CA, patch, namespace)
    except ApiError as error:
        if error.status == 409:
            raise UserError(f"Secret {ref} changed in this moment; run the command again.") from None
        raise


async def _in_force(client: Client, namespace: str) -> Secret:
    for name in (OPERATOR_CA, OWN_CA):
        try:
            return await client.get(SECRET, name, namespace)
        except ApiError as error:
            if error.status != 404:
                raise
    raise UserError(
        f"Namespace {namespace} has neither Secret {OPERATOR_CA} nor {OWN_CA}; start the control plane, or "
        "name its namespace with --namespace."
    )
