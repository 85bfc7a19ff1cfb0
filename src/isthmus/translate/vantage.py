"""The services as proxies of one cluster see them: listeners by the addresses there, and virtual hosts."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from isthmus.model.exports import EVERYBODY, Audience
from isthmus.model.service import ClusterId, Kind, Protocol, Service, ServiceKey
from isthmus.model.view import MeshView
from isthmus.model.workload import Endpoint
from isthmus.translate.exports import ExportedClaims, Exports
from isthmus.translate.listeners import ListenerSpec, listener_specs
from isthmus.translate.routes import VirtualHostSpec, virtual_host_specs

Named = Mapping[str, Collection[str]]
"""Names by the namespace to whose proxies they mean something; that of everybody is "" (`EVERYBODY`)."""


class VantageChange(NamedTuple):
    """Names of listeners and route configurations that a change of one service changes."""

    listeners: Named
    routes: Named


class Vantage:
    """What every proxy of one cluster shares: an index of names, kept up service by service.

    It is filled as it is first read, or by steps before that.
    """

    def __init__(self, cluster: ClusterId, view: MeshView, exports: Exports) -> None:
        self.cluster = cluster
        self._listeners: ExportedClaims[ListenerSpec] = ExportedClaims(exports)
        self._routes: ExportedClaims[VirtualHostSpec] = ExportedClaims(exports)
        self._exports = exports
        self._view = view
        self._unread = list(view.services())

    @property
    def listeners(self) -> ExportedClaims[ListenerSpec]:
        """Which service wants which listener."""
        self._fill()
        return self._listeners

    @property
    def routes(self) -> ExportedClaims[VirtualHostSpec]:
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

    def replace(
        self, key: ServiceKey, service: Service | None, dialled: Sequence[Endpoint], audience: Audience
    ) -> VantageChange:
        """Take a service's new shape, or None for gone, and the endpoints that its clients dial. `audience`:
        whom the change concerns, before and after.
        """
        listeners, routes = self._specs(service, dialled)
        changed = self._routes.replace(key, routes)
        return VantageChange(
            self._replace_listeners(key, listeners, audience), dict.fromkeys(audience, changed)
        )

    def _replace_listeners(
        self, key: ServiceKey, listeners: Mapping[str, ListenerSpec], audience: Audience
    ) -> Named:
        """Of those for all, the names that another service wins now. Where nobody claims one for all any
        more, or the first does, it is another for those who see a restricted service that claims it.
        """
        for_all, restricted = self._listeners.for_all, self._listeners.restricted
        before = {name: for_all.winner(name) for name in for_all.by(key).keys() | listeners.keys()}
        changed = self._listeners.replace(key, listeners)
        named: dict[str, set[str]] = {namespace: set(changed) for namespace in audience}
        if EVERYBODY & audience:
            won = {name for name in changed if for_all.winner(name) != before.get(name)}
            named |= dict.fromkeys(EVERYBODY, won)
            for name in won:
                if before[name] is None or for_all.winner(name) is None:
                    for other in restricted.on(name):
                        for namespace in self._exports.audience(other):
                            named.setdefault(namespace, set()).add(name)
        return named

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
