"""Which services' endpoints depend on where a proxy is, and so what of that its scopes depend on."""

from isthmus.model.service import ClusterId, ServiceKey
from isthmus.model.view import MeshView
from isthmus.model.workload import Workload
from isthmus.translate.clusters import Reach
from isthmus.translate.endpoints import Zone


class Whereabouts:
    """Few meshes have a service whose clients stay on their nodes, or prefer their zones; only with one the
    proxies of different nodes, or zones, are told apart.
    """

    def __init__(self, view: MeshView) -> None:
        self.turned = False
        """Whether the first such service came, or the last went; whoever reads it resets it."""
        self._view = view
        self._services: dict[Reach, set[ServiceKey]] = {Reach.ZONE: set(), Reach.NODE: set()}

    def note(self, key: ServiceKey, reach: Reach | None) -> None:
        """Take what a service reaches now, None for one that is gone."""
        for each, services in self._services.items():
            before = bool(services)
            if each is reach:
                services.add(key)
            else:
                services.discard(key)
            self.turned |= before is not bool(services)

    def of(self, cluster: ClusterId, workload: Workload | None) -> tuple[str | None, Zone | None]:
        """The node and the zone of a proxy in that cluster, None for what nothing depends on. A pod that is
        not known is on no node, and in no zone.
        """
        node = None
        if self._services[Reach.NODE]:
            node = "" if workload is None else workload.node
        if not self._services[Reach.ZONE]:
            return node, None
        if workload is None:
            network, locality = self._view.placement(cluster)
        else:
            network, locality = workload.network, workload.locality
        return node, Zone(network, locality.region, locality.zone)
