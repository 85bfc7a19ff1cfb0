"""The mesh's configuration objects, in the control plane's own cluster: stores, watches, what is awaited."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from isthmus.config.accepted_tls import PeerAuthentications
from isthmus.config.metrics import ConfigMetrics
from isthmus.config.peer_authentication import KIND, PEER_AUTHENTICATION, PeerAuthentication
from isthmus.config.peer_status import PeerStatus
from isthmus.config.policy import PolicySpec
from isthmus.config.status import StatusWriter
from isthmus.config.store import ConfigStore
from isthmus.config.watching import ConfigWatch, watching_config
from isthmus.kube.access import Access
from isthmus.kube.client import running_client
from isthmus.kube.decoding import Ref
from isthmus.lib.lifecycle import task_scope
from isthmus.policy.compiling import compiled_policies

_log = structlog.stdlib.get_logger(__name__)
_MOST_NAMED = 5


@dataclass(slots=True)
class MeshObjects:
    """One store a kind. Until all are settled no proxy is answered: it might be let off a STRICT."""

    policies: ConfigStore[PolicySpec]
    peers: ConfigStore[PeerAuthentication] = field(default_factory=lambda: ConfigStore(PEER_AUTHENTICATION))
    watches: Sequence[ConfigWatch] = ()

    @property
    def metrics(self) -> ConfigMetrics:
        """How many there are, and how many are rejected."""
        return ConfigMetrics(self.peers, self.policies)

    def pending(self) -> list[str]:
        """Which kinds are awaited, and why they cannot be read."""
        return [
            f"{watch.kind.kind} ({watch.trouble})" if watch.trouble else watch.kind.kind
            for watch in self.watches
            if not watch.settled.is_set()
        ]

    def remarks(self) -> Sequence[str]:
        """What an operator must know: objects whose latest version is not in force, the first few by name."""
        rejected = [
            f"rejected: {refusal}"
            for store in (self.peers, self.policies)
            for refusal in store.rejected.values()
        ]
        more = [f"{len(rejected) - _MOST_NAMED} more objects are rejected: /debug/configz"]
        return sorted(rejected)[:_MOST_NAMED] + (more if len(rejected) > _MOST_NAMED else [])

    async def settled(self) -> None:
        """Wait until all were read, or are not known to the cluster."""
        for watch in self.watches:
            await watch.settled.wait()


def telling_of_idle(peers: PeerAuthentications) -> Callable[[Ref], None]:
    """What says in the log, of each change, which objects of its namespace have no effect from then on."""
    told: dict[Ref, str] = {}

    def look(changed: Ref) -> None:
        idle = peers.idle(changed.namespace)
        for ref, reason in idle.items():
            if told.get(ref) != reason:
                _log.warning("configuration has no effect", kind=KIND, object=str(ref), reason=reason)
        for ref in [one for one in told if one.namespace == changed.namespace]:
            del told[ref]
        told.update(idle)

    return look


@asynccontextmanager
async def running_config(access: Access, *, root_namespace: str) -> AsyncGenerator[MeshObjects]:
    """Follow the cluster's configuration objects until the block ends."""
    found = MeshObjects(ConfigStore(compiled_policies(root_namespace)))
    async with running_client(access) as client, task_scope() as tasks:
        writer = StatusWriter(client, PEER_AUTHENTICATION.source)
        tasks.serve(writer.run(), name="status of PeerAuthentications")
        peers = PeerAuthentications(root_namespace, found.peers)
        taker = PeerStatus(found.peers, peers, writer.want, writer.forget)
        async with watching_config(client, taker, found.policies) as found.watches:
            yield found
