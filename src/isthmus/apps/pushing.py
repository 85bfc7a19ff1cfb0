"""What a change of the mesh, or of its configuration, means to the streams; why pushes happen is counted."""

from collections import Counter
from collections.abc import Sequence

from isthmus.apps.telling import Telling
from isthmus.kube.decoding import Ref
from isthmus.model.resources import ScopeChange
from isthmus.model.view import Changes
from isthmus.translate.catalogue import Catalogue
from isthmus.translate.workload_feed import WorkloadFeed
from isthmus.xds.hub import Hub


class Pushing:
    """Its methods are to be subscribed: `telling` to the view, the others to configuration objects."""

    def __init__(self, catalogue: Catalogue, feed: WorkloadFeed, hub: Hub) -> None:
        self.triggers: Counter[str] = Counter()
        """Changes that gave streams something, by istiod's words for their reasons."""
        self._catalogue = catalogue
        self._feed = feed
        self._hub = hub
        self.telling = Telling(self._apply, self._publish)

    def _apply(self, changes: Changes) -> Sequence[ScopeChange]:
        return [*self._catalogue.apply(changes), *self._feed.apply(changes)]

    def _publish(self, changes: Changes, found: Sequence[ScopeChange], since: float) -> None:
        if found:
            self.triggers["service"] += bool(changes.services)
            self.triggers["endpoint"] += bool(changes.endpoints)
        self._hub.publish(found, since)
        self._rescope(self._catalogue.rescoped(changes), "proxy")

    def peers_changed(self, ref: Ref) -> None:
        """A PeerAuthentication did."""
        found = self._catalogue.peers_changed(ref)
        self._hub.publish(found)
        if not self._rescope(self._catalogue.rescoped_by(ref), "config"):
            self.triggers["config"] += bool(found)

    def policy_changed(self, ref: Ref) -> None:
        """A Policy did."""
        self._rescope(self._catalogue.rescoped_by_policy(ref), "config")

    def _rescope(self, node_ids: set[str], reason: str) -> bool:
        self.triggers[reason] += bool(node_ids)
        self._hub.rescope(node_ids)
        return bool(node_ids)
