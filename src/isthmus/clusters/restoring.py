"""Which clusters' states are kept for a start without them, and how such a state comes back."""

from collections.abc import Callable, Mapping

import structlog

from isthmus.clusters.last_known import LastKnown, Subject
from isthmus.clusters.members import Member, Restored
from isthmus.clusters.snapshot import SnapshotRefused, restore
from isthmus.clusters.store import ClusterStore
from isthmus.model.service import ClusterId

_log = structlog.stdlib.get_logger(__name__)


def worth_keeping(members: Mapping[ClusterId, Member]) -> list[Subject]:
    """Remotes that were read as a whole; also what is stale is the last that is known."""
    return [
        Subject(name, member.cluster.access.server, member.complete.store, member.complete.changed_at)
        for name, member in members.items()
        if member.claim is not None and member.cluster.access is not None and member.complete is not None
    ]


def restore_silent(
    members: Mapping[ClusterId, Member],
    last_known: LastKnown,
    new_store: Callable[[ClusterId], ClusterStore],
) -> bool:
    """Give remotes that were not read their last-known state, where there is one; whether any has got one."""
    any_restored = False
    for name, member in members.items():
        found, access = last_known.recall(name), member.cluster.access
        if found is None or member.claim is None or member.complete is not None or access is None:
            continue
        if found.server != access.server:
            _log.info("last-known state is another server's", cluster=name)
            continue
        store = new_store(name)
        try:
            restore(found.content, store)
        except SnapshotRefused as error:
            _log.warning("last-known state refused", cluster=name, reason=str(error))
            continue
        member.restored = Restored(store, found.taken_at)
        any_restored = True
        _log.warning("cluster served from its last-known state", cluster=name)
    last_known.recalled()
    return any_restored
