"""What pilot's pages show, read from its parts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from isthmus.apps.pilot_config import MeshObjects
from isthmus.apps.pilot_identity import MeshIdentity
from isthmus.clusters.registry import Clusters
from isthmus.clusters.status import ClusterStatus
from isthmus.dashboard.config_dump import describe_config
from isthmus.dashboard.syncz import ProxySync, TypeSync, describe_watches
from isthmus.model.resources import ENDPOINT, Resource
from isthmus.model.service import ClusterId
from isthmus.xds.hub import ClientStatus, Hub


class Readiness:
    """What the process still waits for, by name; nothing once it serves, its end once it stops."""

    def __init__(self, clusters: Clusters, identity: MeshIdentity, objects: MeshObjects) -> None:
        self._clusters = clusters
        self._objects = objects
        self._identity = identity
        self.serving = False

    def pending(self) -> list[str]:
        """Empty when proxies can be answered."""
        if self.serving:
            return []
        awaited = [
            f"cluster {one.name} ({', '.join(filter(None, (one.state.value, one.reason)))})"
            for one in self._clusters.status()
            if not one.served
        ]
        if authority := self._identity.authority.pending():
            awaited.append(f"the CA ({authority})")
        awaited.extend(self._objects.pending())
        return awaited or ["xDS"]


def status_of(clusters: Clusters, *remarks: Mapping[ClusterId, Sequence[str]]) -> Sequence[ClusterStatus]:
    """Every cluster, with what others have to say of it."""
    found: list[ClusterStatus] = []
    for one in clusters.status():
        more = [remark for about in remarks for remark in about.get(one.name, ())]
        found.append(replace(one, remarks=(*one.remarks, *more)) if more else one)
    return found


def sync_of(client: ClientStatus) -> ProxySync:
    """What one proxy was sent and has accepted."""
    types = {
        one.type_url: TypeSync(
            one.sent, one.acked, one.synced, one.nack.reason if one.nack else "", one.updated, one.names
        )
        for one in client.types
    }
    return ProxySync(client.proxy, client.peer, types, client.since)


def held_by(hub: Hub, proxy: str) -> Mapping[str, Sequence[Resource]] | None:
    """What a proxy named `POD.NAMESPACE` or by its node id holds, by type; None for an unknown one."""
    for client in hub.clients():
        if proxy in (client.proxy.node_id, f"{client.proxy.pod}.{client.proxy.namespace}"):
            held = hub.held(client.proxy.node_id)
            return {kind: tuple(named.values()) for kind, named in held.items()}
    return None


def pages_of_proxy(
    hub: Hub, connected: Callable[[], Sequence[ProxySync]]
) -> Mapping[str, Callable[[str], Any | None]]:
    """The debug pages of one proxy."""

    def held(proxy: str, *types: str) -> dict[str, Any] | None:
        found = held_by(hub, proxy)
        if found is None:
            return None
        return describe_config({kind: some for kind, some in found.items() if not types or kind in types})

    return {
        "adsz": lambda proxy: describe_watches(connected(), proxy),
        "config_dump": held,
        "edsz": lambda proxy: held(proxy, ENDPOINT),
    }
