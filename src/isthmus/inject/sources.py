"""Where a run's settings come from: the ConfigMaps of a cluster, files instead of them, or neither.

As `istioctl kube-inject` does it: a file counts in place of its ConfigMap, and no cluster is asked where both
are given. Refused is a cluster without our ConfigMaps: pods injected by defaults would find no control plane.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from isthmus.inject.settings import InjectionSettings, NativeSidecars, default_proxy_config, overlay
from isthmus.inject.values import read_values
from isthmus.kube.access import Access
from isthmus.kube.client import Client, running_client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import CONFIG_MAP
from isthmus.lib.errors import UserError

MESH = ("istio", "mesh")
VALUES = ("istio-sidecar-injector", "values")
"""ConfigMap and its key."""
_NATIVE_SINCE = (1, 29)
WITHOUT_CLUSTER = "give --mesh-config and --values-file, or --offline for the defaults"


@dataclass(frozen=True, slots=True)
class Source:
    """A text and how messages name it."""

    text: str
    name: str


def settings_from(mesh: Source, values: Source) -> InjectionSettings:
    """What a mesh config and the chart's values say; UserError names the source and the field."""
    settings = read_values(values.text, values.name)
    return replace(
        settings,
        proxy_config=overlay(settings.proxy_config, default_proxy_config(mesh.text, mesh.name)),
    )


async def settings_in_cluster(
    access: Access, namespace: str, *, mesh: Source | None = None, values: Source | None = None
) -> InjectionSettings:
    """The settings that the cluster's ConfigMaps give; `mesh` or `values` count in place of theirs.

    On a Kubernetes that has no native sidecars, none are used but where that is demanded. UserError says what
    stands against it: no cluster, no right, no ConfigMap, no key, or a field.
    """
    try:
        async with running_client(access) as client:
            settings = settings_from(
                mesh or await _read(client, namespace, *MESH),
                values or await _read(client, namespace, *VALUES),
            )
            if settings.native_sidecars is NativeSidecars.AUTO and await _version(client) < _NATIVE_SINCE:
                return replace(settings, native_sidecars=NativeSidecars.NEVER)
            return settings
    except ApiError as error:
        raise UserError(
            f"{access.server} refuses: {error}; use an account that may, or {WITHOUT_CLUSTER}."
        ) from error
    except Unreachable as error:
        raise UserError(
            f"{access.server} is not reached: {error.reason}; correct that, or {WITHOUT_CLUSTER}."
        ) from error


async def _read(client: Client, namespace: str, name: str, key: str) -> Source:
    place = f"ConfigMap {namespace}/{name}"
    try:
        found = await client.get(CONFIG_MAP, name, namespace)
    except ApiError as error:
        if error.status != 404:
            raise
        raise UserError(
            f"{place} does not exist in {client.server}; install the chart istio or istio-remote there, "
            f"name its namespace with --istio-namespace, or {WITHOUT_CLUSTER}."
        ) from error
    text = found.data.get(key)
    if text is None:
        raise UserError(f"{place} has no key {key!r}; install its chart anew, or {WITHOUT_CLUSTER}.")
    return Source(text, f"{place}: {key}")


async def _version(client: Client) -> tuple[int, int]:
    """Kubernetes' version; a minor such as `29+` is the provider's spelling."""
    told: Mapping[str, Any] = msgspec.json.decode(
        await client.request("GET", "/version"), type=dict[str, Any]
    )
    numbers = (str(told.get(part, "")).rstrip("+") for part in ("major", "minor"))
    major, minor = (int(number) if number.isdecimal() else 0 for number in numbers)
    return major, minor
