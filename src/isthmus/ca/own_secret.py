"""The Secret that keeps the mesh's self-signed roots: Istio's form, plus what a rotation must remember. Pure.

Beside Istio's keys it holds `next-cert.pem` and `next-key.pem` while a root is being introduced. Annotations
say since when the phase lasts, when the next step is due, and that somebody wants a rotation.
"""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from isthmus.ca.errors import MaterialRefused
from isthmus.ca.material import CA_CERT, CA_KEY, CERT_CHAIN, OWN_CA, OWN_TYPE, ROOT_CERT
from isthmus.ca.rotation import Root, Roots
from isthmus.kube.objects import Secret

NEXT_CERT = "next-cert.pem"
NEXT_KEY = "next-key.pem"
SINCE = "isthmus.dev/ca-phase-since"
NEXT_STEP = "isthmus.dev/ca-next-step"
WANTED = "isthmus.dev/ca-rotation-wanted"
"""Any value asks the control plane to begin a rotation; it removes the annotation as it does."""

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"


def read_roots(secret: Secret) -> Roots:
    """The roots in it, and where their rotation stands. Raises MaterialRefused for a half-written one.

    Whether certificates and keys are good is for `material.read_signer`.
    """
    data = secret.data
    signing = Root(_one(data, CA_CERT), data.get(CA_KEY, b""))
    incoming = None
    if NEXT_CERT in data or NEXT_KEY in data:
        if not (data.get(NEXT_CERT) and data.get(NEXT_KEY)):
            where = (
                f"Secret {secret.metadata.namespace}/{secret.metadata.name}, keys {NEXT_CERT} and {NEXT_KEY}"
            )
            raise MaterialRefused(where, "one is there without the other; delete both to end this rotation")
        incoming = Root(_one(data, NEXT_CERT), data[NEXT_KEY])
    known = [root.certificate for root in (signing, incoming) if root is not None]
    outgoing = tuple(one for one in _split(data.get(ROOT_CERT, b"")) if one not in known)
    return Roots(signing, incoming, outgoing, read_time(secret.metadata.annotations.get(SINCE, "")))


def new_secret(roots: Roots, namespace: str) -> dict[str, Any]:
    """The Secret for a mesh's first root."""
    metadata = {"name": OWN_CA, "namespace": namespace}
    data = {name: _base64(text) for name, text in data_of(roots).items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": OWN_TYPE, "data": data}


def patch_of(roots: Roots, *, resource_version: str, next_step: float | None) -> dict[str, Any]:
    """A merge patch to these roots, which is refused (409) if the Secret is not at that version any more.

    A wish for a rotation is taken as heard.
    """
    annotations = {SINCE: write_time(roots.since), NEXT_STEP: write_time(next_step), WANTED: None}
    return {
        "metadata": {"resourceVersion": resource_version, "annotations": annotations},
        "data": {NEXT_CERT: None, NEXT_KEY: None}
        | {name: _base64(text) for name, text in data_of(roots).items()},
    }


def data_of(roots: Roots) -> dict[str, bytes]:
    """The Secret's keys and what they hold."""
    data = {
        CA_CERT: roots.signing.certificate,
        CA_KEY: roots.signing.key,
        ROOT_CERT: b"".join(roots.trusted),
        CERT_CHAIN: b"",
    }
    if roots.incoming is not None:
        data |= {NEXT_CERT: roots.incoming.certificate, NEXT_KEY: roots.incoming.key}
    return data


def read_time(text: str) -> float | None:
    """Unix seconds of an RFC 3339 time, None where it is none."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None


def write_time(time: float | None) -> str | None:
    """RFC 3339, for people too."""
    return None if time is None else datetime.fromtimestamp(time, UTC).isoformat()


def _one(data: Mapping[str, bytes], name: str) -> bytes:
    found = _split(data.get(name, b""))
    return found[0] if found else b""


def _split(pem: bytes) -> Sequence[bytes]:
    """The certificates of a PEM text, each in the one form that comparing needs."""
    parts = (part.partition(_BEGIN)[2] for part in pem.split(_END)[:-1])
    return [_BEGIN + b"\n" + part.strip() + b"\n" + _END + b"\n" for part in parts]


def _base64(text: bytes) -> str:
    return base64.b64encode(text).decode()
