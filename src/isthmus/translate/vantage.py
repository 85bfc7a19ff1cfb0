"""The services as proxies of one cluster see them: listeners by the addresses there, and virtual hosts."""

from collections.abc import Mapping, Sequence
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
    """What every proxy of one cluster shares: an index of names, kept up service by service."""

    def __init__(self, cluster: ClusterId, view: MeshView) -> None:
        self.cluster = cluster
        self.listeners: Claims[ListenerSpec] = Claims()
        self.routes: Claims[VirtualHostSpec] = Claims()
        self._view = view
        for key in view.services():
            service = view.service(key)
            listeners, routes = self._specs(service, dialled_endpoints(view, service))
            self.listeners.replace(key, listeners)
            self.routes.replace(key, routes)

    def replace(self, key: ServiceKey, service: Service | None, dialled: Sequence[Endpoint]) -> VantageChange:
        """Take a service's new shape, or None for gone, and the endpoints that its clients dial."""
        listeners, routes = self._specs(service, dialled)
        old = self.listeners.by(key)
        claimed = {name for name in old.keys() | listeners.keys() if old.get(name) != listeners.get(name)}
        before = {name: self.listeners.winner(name) for name in claimed}
        self.listeners.replace(key, listeners)
        return VantageChange(
            frozenset(name for name in claimed if self.listeners.winner(name) != before[name]),
            self.routes.replace(key, routes),
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
