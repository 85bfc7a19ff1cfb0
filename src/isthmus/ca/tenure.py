"""How long an admitted proxy is served: until its Pod or cluster is gone, or what it proved has expired.

Its stream is ended then, and its connection with it, since a certificate is shown only as one begins. Envoy
keeps the configuration that it has, and comes back with whatever its agent holds by then; that is judged as
any other's. Expired proofs have a little grace, another one for each, so that proxies that were certified
together do not come back together.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

import structlog

from isthmus.ca.admission import Pods
from isthmus.model.proxy import Proxy
from isthmus.model.service import ClusterId
from isthmus.model.view import Changes
from isthmus.model.workload import Workload, WorkloadKey

_log = structlog.stdlib.get_logger(__name__)
MOST_GRACE = 60.0
"""Seconds that a stream outlives its proof at most."""
GRACE_SHARE = 0.1
"""Of what was left of the proof as the stream began."""
_LONGEST = 30 * 86_400.0
"""Seconds after which it is looked again: an event loop's timers need not hold for years."""


class Why(Enum):
    """Why a stream is ended, in words for its proxy."""

    EXPIRED = "what it proved has expired"
    POD_GONE = "its Pod is gone"
    POD_REPLACED = "its Pod was replaced"
    CLUSTER_GONE = "its cluster left the mesh"


@dataclass(slots=True, eq=False)
class _Tenure:
    proxy: Proxy
    key: WorkloadKey
    end: Callable[[str], None]
    timer: asyncio.TimerHandle | None = field(default=None)


class Tenures:
    """The streams of admitted proxies; made by `holding` only."""

    def __init__(self, pods: Pods, clusters: Collection[ClusterId], clock: Callable[[], float]) -> None:
        self.ended: Counter[Why] = Counter(dict.fromkeys(Why, 0))
        """Streams that were ended."""
        self._pods = pods
        self._clusters = clusters
        self._clock = clock
        self._held: dict[WorkloadKey, dict[_Tenure, None]] = {}

    def begin(self, proxy: Proxy, end: Callable[[str], None]) -> Callable[[], None]:
        """A proxy was admitted just now; `end` is called at most once, with the reason, to end its stream.

        What is answered is to be called when the stream is over for whatever reason.
        """
        tenure = _Tenure(proxy, WorkloadKey(proxy.cluster, proxy.namespace, proxy.pod), end)
        self._held.setdefault(tenure.key, {})[tenure] = None
        if proxy.identity is not None and proxy.identity.expires < float("inf"):
            left = max(0.0, proxy.identity.expires - self._clock())
            grace = random.uniform(0, min(MOST_GRACE, left * GRACE_SHARE))
            self._wind(tenure, proxy.identity.expires + grace)
        return lambda: self._release(tenure)

    def changed(self, changes: Changes) -> None:
        """Send away the proxies whose Pods are not what they were."""
        leaving: dict[Why, list[_Tenure]] = {}
        for key in changes.workloads & self._held.keys():
            workload = self._pods.workload(key)
            for tenure in self._held[key]:
                if why := self._over(tenure.proxy, workload):
                    leaving.setdefault(why, []).append(tenure)
        for why, tenures in leaving.items():
            self._end(tenures, why)

    def _over(self, proxy: Proxy, workload: Workload | None) -> Why | None:
        if workload is None:
            return Why.POD_GONE if proxy.cluster in self._clusters else Why.CLUSTER_GONE
        moved = proxy.address and workload.addresses and proxy.address not in workload.addresses
        account = proxy.identity is None or workload.service_account == proxy.identity.service_account
        return Why.POD_REPLACED if moved or not account else None

    def _wind(self, tenure: _Tenure, until: float) -> None:
        wait = min(max(0.0, until - self._clock()), _LONGEST)
        tenure.timer = asyncio.get_running_loop().call_later(wait, self._due, tenure, until)

    def _due(self, tenure: _Tenure, until: float) -> None:
        if self._clock() < until:
            self._wind(tenure, until)
        else:
            self._end([tenure], Why.EXPIRED)

    def _end(self, tenures: Sequence[_Tenure], why: Why) -> None:
        first = tenures[0].proxy
        _log.info(
            "proxies sent away",
            reason=why.value,
            cluster=first.cluster,
            proxies=len(tenures),
            first=first.node_id,
        )
        self.ended[why] += len(tenures)
        for tenure in tenures:
            self._release(tenure)
            tenure.end(why.value)

    def _release(self, tenure: _Tenure) -> None:
        if tenure.timer is not None:
            tenure.timer.cancel()
        held = self._held.get(tenure.key)
        if held is not None:
            held.pop(tenure, None)
            if not held:
                del self._held[tenure.key]


@contextmanager
def holding(
    pods: Pods, clusters: Collection[ClusterId], *, clock: Callable[[], float] = time.time
) -> Generator[Tenures]:
    """Ends streams by the Pods of the joined view until the block ends. `clusters` are those of the mesh,
    live; `clock` gives Unix seconds.
    """
    tenures = Tenures(pods, clusters, clock)
    with pods.subscribe(tenures.changed):
        yield tenures
