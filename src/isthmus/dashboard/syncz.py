"""`/debug/syncz`: for each proxy what it was sent and what it accepted, in the shape of istiod's page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.model.proxy import Proxy
from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE

_PREFIXES = {CLUSTER: "cluster", LISTENER: "listener", ROUTE: "route", ENDPOINT: "endpoint"}


@dataclass(frozen=True, slots=True)
class TypeSync:
    """How far one type is on one stream; nonces and `rejected`, the last refusal's reason, may be ""."""

    sent: str
    acked: str
    synced: bool
    rejected: str


@dataclass(frozen=True, slots=True)
class ProxySync:
    """One proxy's stream; `types` by type URL."""

    proxy: Proxy
    peer: str
    types: Mapping[str, TypeSync]


def describe_sync(clients: Iterable[ProxySync]) -> list[dict[str, Any]]:
    """One row for each connected proxy, with istiod's fields (`cluster_sent`, `cluster_acked`, …).

    `rejected` is ours: for each type that the proxy refused last, its reason.
    """
    return [_row(client) for client in clients]


def _row(client: ProxySync) -> dict[str, Any]:
    proxy = client.proxy
    row: dict[str, Any] = {
        "cluster_id": proxy.cluster,
        "proxy": f"{proxy.pod}.{proxy.namespace}",
        "proxy_type": proxy.kind,
        "istio_version": proxy.metadata.get("ISTIO_VERSION", ""),
        "address": client.peer,
    }
    rejected: dict[str, str] = {}
    for type_url, prefix in _PREFIXES.items():
        one = client.types.get(type_url)
        if one is None:
            continue
        row[f"{prefix}_sent"] = one.sent
        row[f"{prefix}_acked"] = one.acked
        row[f"{prefix}_synced"] = one.synced
        if one.rejected:
            rejected[prefix] = one.rejected
    if rejected:
        row["rejected"] = rejected
    return row
