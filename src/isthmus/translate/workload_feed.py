"""The workload feed: every pod with an address of its own, one resource a pod, for the policy server. Pure.

It is a scope like a proxy's, so both forms of xDS serve it, replicas share it, and who comes back resumes by
versions. Nothing is kept while nobody follows it.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from weakref import WeakValueDictionary

from isthmus.config.workload_feed import ACCOUNT, KIND, TYPE_URL, FedWorkload, encode, packed, split_uid, uid
from isthmus.model.identity import Identity
from isthmus.model.proxy import Proxy
from isthmus.model.resources import Scope, ScopeChange
from isthmus.model.service import ClusterId
from isthmus.model.view import Changes, MeshView
from isthmus.model.workload import Workload, WorkloadKey
from isthmus.translate.catalogue import Catalogue
from isthmus.translate.scope import Counters, DerivedScope

_KEY = "workloads"
_FEW = 1000
"""Pods that are encoded in some milliseconds."""


class WorkloadFeed:
    """One scope for all who may read it, kept in step with the view by `apply`.

    `namespace` is the control plane's own: its policy server reads the feed, and nobody else.
    """

    def __init__(self, view: MeshView, *, namespace: str) -> None:
        self.counters = Counters()
        self._view = view
        self._namespace = namespace
        self._scope: WeakValueDictionary[str, DerivedScope] = WeakValueDictionary()

    def reader(self, identity: Identity) -> bool:
        """Whether a proved identity is the policy server's."""
        return (identity.namespace, identity.service_account) == (self._namespace, ACCOUNT)

    def scopes(self) -> Sequence[Scope]:
        """What a reader is served."""
        scope = self._scope.get(_KEY)
        if scope is None:
            many = next(islice(self._view.workloads(), _FEW, None), None) is not None
            groundwork = _nothing if many else None
            workloads = _Workloads(self._view)
            scope = self._scope[_KEY] = DerivedScope(_KEY, (workloads,), self.counters, groundwork)
        return (scope,)

    def apply(self, changes: Changes) -> list[ScopeChange]:
        """Forget the pods that changed, where somebody reads the feed."""
        scope = self._scope.get(_KEY)
        if scope is None or not changes.workloads:
            return []
        return [scope.forget({TYPE_URL: {uid(*key) for key in changes.workloads}})]


def _nothing() -> Iterator[None]:
    return iter(())


class _Workloads:
    type_url = TYPE_URL

    def __init__(self, view: MeshView) -> None:
        self._view = view

    def names(self) -> Collection[str]:
        """Every pod; which of them have an address of their own, `has` says."""
        return [uid(*key) for key in self._view.workloads()]

    def has(self, name: str) -> bool:
        """Whether there is such a pod now."""
        workload = self._workload(name)
        return workload is not None and bool(self._own_addresses(workload))

    def body(self, name: str) -> bytes:
        """The named pod."""
        workload = self._workload(name)
        assert workload is not None
        return encode(
            FedWorkload(
                *workload.key,
                addresses=self._own_addresses(workload),
                account=workload.service_account,
                workload=workload.owner,
                labels=workload.labels,
            )
        )

    def _workload(self, name: str) -> Workload | None:
        found = split_uid(name)
        if found is None:
            return None
        cluster, namespace, pod = found
        return self._view.workload(WorkloadKey(ClusterId(cluster), namespace, pod))

    def _own_addresses(self, workload: Workload) -> tuple[str, ...]:
        """Without those of the node, by which the view finds no pod, and without what is no address."""
        cluster = workload.key.cluster
        return tuple(
            one
            for one in workload.addresses
            if packed(one) is not None and self._view.workload_at(cluster, one) is not None
        )


class Served:
    """`xds.session.Provider`: the policy server gets the feed, everybody else the catalogue's configuration.

    Where nothing is proved (a plain listener), what a proxy says of itself decides here as everywhere.
    """

    def __init__(self, catalogue: Catalogue, feed: WorkloadFeed) -> None:
        self._catalogue = catalogue
        self._feed = feed

    def scopes(self, proxy: Proxy) -> Sequence[Scope]:
        """See `Provider`."""
        if proxy.kind != KIND:
            return self._catalogue.scopes(proxy)
        return self._feed.scopes() if proxy.identity is None or self._feed.reader(proxy.identity) else ()
