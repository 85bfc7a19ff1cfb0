"""The services as proxies of one cluster see them: listeners by the addresses there, and virtual hosts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from isthmus.model.service import ClusterId, Kind, Protocol, Service, ServiceKey
from isthmus.model.view import MeshView
from isthmus.model.workload import Endpoint
from isthmus.translate.claims import Claims
from isthmus.translate.listeners import ListenerSpec, listener_specs
from isthmus.translate.routes import VirtualHostSpec, virtual_host_specs


class VantageChange(NamedTuple):
    """Names of listeners and route configurations that a change of one service changes."""

    listeners: frozenset[str]
    routes: frozenset[str]


class Vantage:
    """What every proxy of one cluster shares: an index of names, kept up service by service.

    It is filled as it is first read, or by steps before that.
    """

    def __init__(self, cluster: ClusterId, view: MeshView) -> None:
        self.cluster = cluster
        self._listeners: Claims[ListenerSpec] = Claims()
        self._routes: Claims[VirtualHostSpec] = Claims()
        self._view = view
        self._unread = list(view.services())

    @property
    def listeners(self) -> Claims[ListenerSpec]:
        """Which service wants which listener."""
        self._fill()
        return self._listeners

    @property
    def routes(self) -> Claims[VirtualHostSpec]:
        """Which service wants a virtual host in which route configuration."""
        self._fill()
        return self._routes

    def _fill(self) -> None:
        if self._unread:
            for _ in self.filling():
                pass

    def filling(self) -> Iterator[None]:
        """Take the services that were there at the beginning, one at each step."""
        while self._unread:
            key = self._unread.pop()
            service = self._view.service(key)
            listeners, routes = self._specs(service, dialled_endpoints(self._view, service))
            self._listeners.replace(key, listeners)
            self._routes.replace(key, routes)
            yield

    def replace(self, key: ServiceKey, service: Service | None, dialled: Sequence[Endpoint]) -> VantageChange:
        """Take a service's new shape, or None for gone, and the endpoints that its clients dial."""
        listeners, routes = self._specs(service, dialled)
        old = self._listeners.by(key)
        claimed = {name for name in old.keys() | listeners.keys() if old.get(name) != listeners.get(name)}
        before = {name: self._listeners.winner(name) for name in claimed}
        self._listeners.replace(key, listeners)
        return VantageChange(
            frozenset(name for name in claimed if self._listeners.winner(name) != before[name]),
            self._routes.replace(key, routes),
        )

    def _specs(
        self, service: Service | None, dialled: Sequence[Endpoint]
    ) -> tuple[Mapping[str, ListenerSpec], Mapping[str, VirtualHostSpec]]:
        if service is None:
            return {}, {}
        network, _ = self._view.placement(self.cluster)
        backends = sorted({endpoint.address for endpoint in dialled if endpoint.network == network})
        return listener_specs(service, self.cluster, backends), virtual_host_specs(service, self.cluster)


def dialled_endpoints(view: MeshView, service: Service | None) -> Sequence[Endpoint]:
    """The endpoints whose own addresses need listeners: those of headless services, where not plain HTTP."""
    if service is None or service.kind is not Kind.HEADLESS:
        return ()
    if all(port.protocol.is_http or port.protocol is Protocol.UDP for port in service.ports):
        return ()
    return [endpoint for endpoints in view.endpoints(service.key).values() for endpoint in endpoints]
