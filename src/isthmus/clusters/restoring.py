"""Which clusters' states are kept for replicas that cannot read them, and how such a state comes back."""

from collections.abc import Callable, Collection, Mapping

import structlog

from isthmus.clusters.last_known import LastKnown, Subject
from isthmus.clusters.members import Member, Restored
from isthmus.clusters.remembered import Remembered
from isthmus.clusters.snapshot import SnapshotRefused, restore
from isthmus.clusters.store import ClusterStore
from isthmus.model.service import ClusterId

_log = structlog.stdlib.get_logger(__name__)


def worth_keeping(members: Mapping[ClusterId, Member]) -> list[Subject]:
    """Remotes that were read as a whole; also what is stale is the last that is known."""
    return [
        Subject(
            name,
            member.cluster.access.server,
            member.complete.store,
            member.complete.changed_at,
            None if member.is_current else member.cluster.health.since,
        )
        for name, member in members.items()
        if member.claim is not None and member.cluster.access is not None and member.complete is not None
    ]


def lost(members: Mapping[ClusterId, Member]) -> Collection[ClusterId]:
    """Remotes that another replica may know better."""
    return [name for name, member in members.items() if member.claim is not None and not member.is_current]


def restore_lost(
    members: Mapping[ClusterId, Member],
    last_known: LastKnown,
    new_store: Callable[[ClusterId], ClusterStore],
) -> bool:
    """Give lost remotes their last-known state, where it is newer than what is held; whether any got one."""
    any_restored = False
    for name in lost(members):
        found, member = last_known.recall(name), members[name]
        if found is not None and _restore(name, member, found, new_store):
            any_restored = True
            _log.warning("cluster served from its last-known state", cluster=name)
    last_known.recalled()
    return any_restored


def _restore(
    name: ClusterId, member: Member, found: Remembered, new_store: Callable[[ClusterId], ClusterStore]
) -> bool:
    before, access = member.store, member.cluster.access
    if access is None or (before is not None and found.taken_at <= member.health.since):
        return False
    if found.server != access.server:
        _log.info("last-known state is another server's", cluster=name)
        return False
    store = new_store(name)
    try:
        restore(found.content, store)
    except SnapshotRefused as error:
        _log.warning("last-known state refused", cluster=name, reason=str(error))
        return False
    if before is not None and before.identity != store.identity:
        _log.info("last-known state is another cluster's", cluster=name)
        return False
    member.restored = Restored(store, found.taken_at)
    return True
