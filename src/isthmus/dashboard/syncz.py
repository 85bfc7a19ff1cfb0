"""`/debug/syncz`, `adsz`, `connections`: what proxies were sent, accept and ask for, in istiod's shapes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from envoy.service.status.v3 import csds_pb2
from google.protobuf.any_pb2 import Any as Any_

from isthmus.model.proxy import Proxy
from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE

_PREFIXES = {CLUSTER: "cluster", LISTENER: "listener", ROUTE: "route", ENDPOINT: "endpoint"}


@dataclass(frozen=True, slots=True)
class TypeSync:
    """How far one type is on one stream; nonces and `rejected`, why the last answer is a refusal, may be "".

    `updated` is when something was sent last, in seconds since the epoch, 0 before that. `names` are those
    that the proxy asks for one by one.
    """

    sent: str
    acked: str
    synced: bool
    rejected: str
    updated: float = 0.0
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ProxySync:
    """One proxy's stream; `types` by type URL. `since` is in seconds since the epoch."""

    proxy: Proxy
    peer: str
    types: Mapping[str, TypeSync]
    since: float = 0.0

    @property
    def name(self) -> str:
        """What Istio's tools call it: `POD.NAMESPACE`."""
        return f"{self.proxy.pod}.{self.proxy.namespace}"


def describe_sync(clients: Iterable[ProxySync]) -> list[dict[str, Any]]:
    """One row for each connected proxy, with istiod's fields (`cluster_sent`, `cluster_acked`, …, and
    `resources` by type).

    `rejected` is ours: for each type that the proxy refused last, its reason.
    """
    return [_row(client) for client in clients]


def _row(client: ProxySync) -> dict[str, Any]:
    proxy = client.proxy
    row: dict[str, Any] = {
        "cluster_id": proxy.cluster,
        "proxy": client.name,
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
    row["resources"] = {type_url: _resource(one) for type_url, one in sorted(client.types.items())}
    if rejected:
        row["rejected"] = rejected
    return row


def _resource(one: TypeSync) -> dict[str, Any]:
    return {"sent": one.sent, "acked": one.acked, "sentTime": _time(one.updated), "lastError": one.rejected}


def describe_connections(clients: Iterable[ProxySync]) -> dict[str, Any]:
    """Who is connected: `totalClients`, and `clients` with istiod's fields."""
    rows = [_connection(client) for client in clients]
    return {"totalClients": len(rows), "clients": rows}


def describe_watches(clients: Iterable[ProxySync], proxy: str = "") -> dict[str, Any] | None:
    """The same, with what they say of themselves, and `watches`: by type the names that they ask for. These
    are given of one `proxy` alone, by its name or node id, and otherwise null: of all proxies together they
    are too many to look through while nobody else is served. None where there is no such proxy.
    """
    found = [one for one in clients if proxy in ("", one.name, one.proxy.node_id)]
    if proxy and not found:
        return None
    rows = [
        {
            **_connection(client),
            "metadata": dict(client.proxy.metadata),
            "watches": {
                type_url: sorted(one.names) if proxy else None
                for type_url, one in sorted(client.types.items())
            },
        }
        for client in found
    ]
    return {"totalClients": len(rows), "clients": rows}


def _connection(client: ProxySync) -> dict[str, Any]:
    return {
        "connectionId": client.proxy.node_id,
        "connectedAt": _time(client.since),
        "address": client.peer,
    }


def client_configs(clients: Iterable[ProxySync]) -> list[tuple[str, Any_]]:
    """What `istioctl proxy-status` reads: each proxy's ClientConfig (Envoy: CSDS), by the proxy's name."""
    return [(client.name, _packed(_client_config(client))) for client in clients]


def _client_config(client: ProxySync) -> csds_pb2.ClientConfig:
    config = csds_pb2.ClientConfig()
    config.node.id = client.name
    metadata = config.node.metadata
    metadata["CLUSTER_ID"] = client.proxy.cluster
    metadata["NAMESPACE"] = client.proxy.namespace
    metadata["ISTIO_VERSION"] = client.proxy.metadata.get("ISTIO_VERSION", "")
    for type_url, one in sorted(client.types.items()):
        entry = config.generic_xds_configs.add(type_url=type_url, config_status=_status(one))
        if one.sent:
            entry.last_updated.seconds = int(one.updated)
        if one.rejected:
            entry.error_state.details = one.rejected
    return config


def _status(one: TypeSync) -> csds_pb2.ConfigStatus.ValueType:
    """istiod's rule (pilot/pkg/xds: debugSyncStatus)."""
    if one.rejected:
        word = "ERROR"
    elif not one.sent:
        word = "NOT_SENT"
    else:
        word = "SYNCED" if one.synced else "STALE"
    return csds_pb2.ConfigStatus.Value(word)


def _packed(message: csds_pb2.ClientConfig) -> Any_:
    name = message.DESCRIPTOR.full_name
    return Any_(type_url=f"type.googleapis.com/{name}", value=message.SerializeToString())


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
