"""Reads where our own pods are, and writes it into a remote's Endpoints; `healing` decides what to write."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeVar

import msgspec

from isthmus.clusters.api import Api
from isthmus.clusters.healing import (
    FIELD_MANAGER,
    SERVICES,
    Amend,
    Create,
    Json,
    manager_of_addresses,
    plan_addresses,
    plan_release,
    ready_addresses,
)
from isthmus.clusters.reading import SERVICE_NAME_LABEL, read_endpoints, read_slice
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import ENDPOINT_SLICE, ENDPOINTS, Kind, untyped

T = TypeVar("T")
Addresses: TypeAlias = Mapping[str, Sequence[str]]
"""By the name of a Service, sorted."""
_SERVICE = untyped("", "v1", "services", "Service")
_ENDPOINTS = untyped("", "v1", "endpoints", "Endpoints")


async def read_own_addresses(api: Api, namespace: str) -> Addresses:
    """The control plane's ready pods, as its own API server knows them now. Raises ApiError, Unreachable."""
    found: dict[str, Sequence[str]] = {}
    slices = await api.serves(ENDPOINT_SLICE.group, ENDPOINT_SLICE.version, ENDPOINT_SLICE.plural)
    for service in SERVICES:
        if slices:
            label = f"{SERVICE_NAME_LABEL}={service}"
            pieces = await api.list(ENDPOINT_SLICE, namespace, label_selector=label)
            parts = [part for piece in pieces if (part := read_slice(piece)[0]) is not None]
        else:
            endpoints = await _find(api, ENDPOINTS, service, namespace)
            parts = [] if endpoints is None else [read_endpoints(endpoints)[0]]
        found[service] = sorted(ready_addresses(parts))
    return found


async def write_addresses(
    api: Api, namespace: str, service: str, addresses: Sequence[str], home: str
) -> str | None:
    """Make one Service of a remote lead there. Raises ApiError (409: somebody came between), Unreachable.

    Answers None where there was nothing to do, else who had written what stood there ("" for nobody known).
    """
    found = await _find(api, _SERVICE, service, namespace)
    before = None if found is None else await _find(api, _ENDPOINTS, service, namespace)
    path = _ENDPOINTS.path(namespace, "" if before is None else service)
    move = plan_addresses(found, before, addresses, home)
    match move:
        case Create(body):
            answer = await _write(api, "POST", path, body)
        case Amend(patch):
            answer = await _write(api, "PATCH", path, patch)
        case None:
            answer = before
    # Also after a write that was cut off before this: it would make a later `helm upgrade` fail.
    release = None if answer is None else plan_release(answer)
    if release is not None:
        await _write(api, "PATCH", _ENDPOINTS.path(namespace, service), release)
    if move is None:
        return None
    return "" if before is None else manager_of_addresses(before)


async def _write(api: Api, method: str, path: str, body: Json) -> Json:
    kind = "application/json" if method == "POST" else "application/merge-patch+json"
    answer = await api.request(
        method, path, params={"fieldManager": FIELD_MANAGER}, body=body, content_type=kind
    )
    try:
        return msgspec.json.decode(answer, type=Json)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreachable(f"its answer to {method} is no object: {error}") from None


async def _find(api: Api, kind: Kind[T], name: str, namespace: str) -> T | None:
    try:
        return await api.get(kind, name, namespace)
    except ApiError as error:
        if error.status == 404:
            return None
        raise
