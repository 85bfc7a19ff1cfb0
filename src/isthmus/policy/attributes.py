"""The attributes of a check, out of Envoy's CheckRequest: each made only when a rule asks for it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from envoy.service.auth.v3.attribute_context_pb2 import AttributeContext

from isthmus.config.policy_context import Destination
from isthmus.policy.client import Client, Clients
from isthmus.policy.vocabulary import Value

_MOST_PARAMETERS = 1000


class CheckAttributes:
    """The attributes of one check; `Attributes` in the vocabulary's words."""

    __slots__ = ("_client", "_clients", "context", "destination", "http")

    def __init__(self, context: AttributeContext, destination: Destination, clients: Clients) -> None:
        self.context = context
        self.http = context.request.http
        self.destination = destination
        self._clients = clients
        self._client: Client | None = None

    def get(self, name: str) -> Value | None:
        """See `Attributes`."""
        return _GETTERS[name](self)

    def entries(self, name: str, keys: Sequence[str]) -> Mapping[str, str] | None:
        """See `Attributes`. Headers are many, and rules read few."""
        if name != "request.headers":
            return _GETTERS[name](self)  # pyright: ignore[reportReturnType]  # a map
        headers = self.http.headers
        return {key: headers[key] for key in keys if key in headers}

    @property
    def client(self) -> Client:
        """Who sent it, by the certificate that Envoy verified; headers say nothing here."""
        if self._client is None:
            source = self.context.source
            self._client = self._clients.identify(source.principal, source.address.socket_address.address)
        return self._client


_Getter = Callable[[CheckAttributes], Value | None]


def _principal(check: CheckAttributes) -> str | None:
    identity = check.client.identity
    return None if identity is None else identity.uri.removeprefix("spiffe://")


def _of_identity(field: str) -> _Getter:
    return lambda check: None if check.client.identity is None else getattr(check.client.identity, field)


def _of_workload(field: str) -> _Getter:
    return lambda check: None if check.client.workload is None else getattr(check.client.workload, field)


def _of_destination(field: str) -> _Getter:
    return lambda check: getattr(check.destination, field) or None


def _of_http(field: str) -> _Getter:
    return lambda check: getattr(check.http, field) or None


def _of_header(name: str) -> _Getter:
    return lambda check: check.http.headers.get(name)


def _address(peer: AttributeContext.Peer) -> Any:
    return peer.address.socket_address


def _size(check: CheckAttributes) -> int | None:
    return check.http.size if check.http.size >= 0 else None


def _time(check: CheckAttributes) -> datetime | None:
    time = check.context.request.time
    return datetime.fromtimestamp(time.seconds + time.nanos / 1e9, UTC) if time.seconds else None


def _url_path(check: CheckAttributes) -> str | None:
    return check.http.path.partition("#")[0].partition("?")[0] or None


def _parameters(check: CheckAttributes) -> dict[str, str] | None:
    """None where there are more than any honest client sends."""
    query = check.http.query or check.http.path.partition("#")[0].partition("?")[2]
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS))
    except ValueError:
        return None


def _sni(check: CheckAttributes) -> str | None:
    return check.context.tls_session.sni or None


_GETTERS: dict[str, _Getter] = {
    "source.ip": lambda check: _address(check.context.source).address or None,
    "source.port": lambda check: _address(check.context.source).port_value or None,
    "source.principal": _principal,
    "source.namespace": _of_identity("namespace"),
    "source.account": _of_identity("service_account"),
    "source.cluster": _of_workload("cluster"),
    "source.workload": _of_workload("workload"),
    "source.labels": _of_workload("labels"),
    "destination.ip": lambda check: _address(check.context.destination).address or None,
    "destination.port": lambda check: _address(check.context.destination).port_value or None,
    "destination.labels": lambda check: check.destination.labels if check.destination.namespace else None,
    **{
        f"destination.{field}": _of_destination(field)
        for field in ("cluster", "namespace", "account", "workload", "service")
    },
    **{
        f"request.{field}": _of_http(field)
        for field in ("id", "method", "scheme", "host", "path", "protocol")
    },
    "request.url_path": _url_path,
    "request.query_params": _parameters,
    "request.headers": lambda check: dict(check.http.headers),
    "request.size": _size,
    "request.time": _time,
    "request.useragent": _of_header("user-agent"),
    "request.referer": _of_header("referer"),
    "connection.mtls": lambda check: check.client.identity is not None,
    "connection.sni": _sni,
    "connection.requested_server_name": _sni,
}
