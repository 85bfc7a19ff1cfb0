"""The trusted roots in every namespace of one cluster: ConfigMap `istio-ca-root-cert`, key `root-cert.pem`.

Level-based: namespaces, ConfigMaps and the bundle only say which namespace to look at; what is then done
follows from what is there. It owns that one key; nothing else of a ConfigMap is touched. Kubernetes' own
namespaces are left alone. Where a right is missing only this is, and `missing` names it; so it does where
somebody else, such as another mesh's control plane, writes the same ConfigMap: there is no race with it.
Source: Istio, namespace controller.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import NoReturn, Protocol

import structlog

from isthmus.ca.material import ROOT_CERT
from isthmus.ca.rates import Rate
from isthmus.clusters.api import Api
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import CONFIG_MAP, NAMESPACE
from isthmus.kube.objects import ConfigMap, Namespace
from isthmus.kube.watch import Event, Phase, Removed, Synced, Upserted, WatchState
from isthmus.lib.backoff import Backoff
from isthmus.lib.lifecycle import task_scope
from isthmus.model.service import ClusterId

_log = structlog.stdlib.get_logger(__name__)
CONFIG_MAP_NAME = "istio-ca-root-cert"
_LABELS = {"istio.io/config": "true"}
_ASK_AGAIN = 60.0
"""Seconds until what fails for ever is tried again."""
_GIVE_UP = 3
"""Failures in a row after which the rest waits as well."""
_WRITES, _WRITES_PER_SECOND = 5, 1 / 60
"""Of one copy; more would be a race with somebody else."""


class _Contested(Exception):  # noqa: N818 - a finding
    """Somebody else writes this copy."""


class BundleSource(Protocol):
    """Where the trusted roots come from; `authority.CertificateAuthority` is one."""

    @property
    def bundle(self) -> bytes | None:
        """PEM, None while there is none."""
        ...

    def subscribe(self, listener: Callable[[], None]) -> AbstractContextManager[None]:
        """Call `listener` as the bundle changes."""
        ...


class Distribution:
    """The state of one cluster's copies; made by `distributing_bundle` only."""

    def __init__(self, api: Api, source: BundleSource, cluster: ClusterId) -> None:
        self.missing = ""
        """What keeps copies from being right, "" where nothing is amiss."""
        self._api = api
        self._source = source
        self._log = _log.bind(cluster=cluster)
        self._namespaces: set[str] = set()
        self._copies: dict[str, str | None] = {}
        """Namespace → what its ConfigMap's key holds, None where the ConfigMap lacks the key."""
        self._listed: set[str] = set()
        self._due: dict[str, None] = {}
        self._is_refused = False
        self._woken = asyncio.Event()
        self._writes = Rate(_WRITES, _WRITES_PER_SECOND)

    @property
    def lacking(self) -> bool:
        """Whether some namespace was not seen to have the bundle of now, and may yet get it from us."""
        if self._is_refused or (bundle := self._source.bundle) is None:
            return False
        copies = (self._copies.get(namespace) for namespace in self._namespaces)
        return len(self._listed) < 2 or any(copy != bundle.decode() for copy in copies)

    def all_due(self) -> None:
        """Look at every namespace."""
        self._due.update(dict.fromkeys(sorted(self._namespaces)))
        self._woken.set()

    async def watch_namespaces(self) -> NoReturn:
        """Follow the namespaces."""

        def deliver(event: Event[Namespace]) -> None:
            match event:
                case Upserted(namespace):
                    name = namespace.metadata.name
                    if _is_served(name) and not namespace.metadata.deletion_timestamp:
                        self._namespaces.add(name)
                        self._look_at(name)
                    else:
                        self._namespaces.discard(name)
                case Removed(namespace):
                    self._namespaces.discard(namespace.metadata.name)
                case Synced():
                    self._list_complete("namespaces")

        await self._api.watch(NAMESPACE, deliver, report=self._reported)

    async def watch_copies(self) -> NoReturn:
        """Follow the ConfigMaps of that name."""

        def deliver(event: Event[ConfigMap]) -> None:
            match event:
                case Upserted(copy):
                    self._copies[copy.metadata.namespace] = copy.data.get(ROOT_CERT)
                    self._look_at(copy.metadata.namespace)
                case Removed(copy):
                    self._copies.pop(copy.metadata.namespace, None)
                    self._look_at(copy.metadata.namespace)
                case Synced():
                    self._list_complete("configmaps")

        selector = f"metadata.name={CONFIG_MAP_NAME}"
        await self._api.watch(CONFIG_MAP, deliver, field_selector=selector, report=self._reported)

    async def serve(self) -> NoReturn:
        """Look at whatever is due; at what failed again later, or with the next that is due."""
        backoff = Backoff(cap=_ASK_AGAIN)
        while True:
            self._woken.clear()
            failed = await self._settle_due()
            if not failed:
                backoff.reset()
                await self._woken.wait()
                continue
            try:
                async with asyncio.timeout(backoff.next_delay()):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._due.update(failed)

    async def _settle_due(self) -> dict[str, None]:
        """Settle each due namespace once; those where that failed. It stops where nothing succeeds."""
        failed: dict[str, None] = {}
        in_a_row = 0
        while self._due and in_a_row < _GIVE_UP and len(self._listed) == 2:
            if (bundle := self._source.bundle) is None:
                break
            namespace = next(iter(self._due))
            del self._due[namespace]
            try:
                await self._settle(namespace, bundle.decode())
                in_a_row = 0
            except (ApiError, Unreachable) as error:
                failed[namespace] = None
                in_a_row += 1
                self._note(error)
            except _Contested:
                failed[namespace] = None
                self._is_refused = True
                self._tell(f"ConfigMap {namespace}/{CONFIG_MAP_NAME} is written by somebody else, too")
        if len(self._listed) == 2 and not failed and not self._due:
            self.missing, self._is_refused = "", False
        return failed

    def _look_at(self, namespace: str) -> None:
        if namespace in self._namespaces:
            self._due[namespace] = None
            self._woken.set()

    def _list_complete(self, plural: str) -> None:
        self._listed.add(plural)
        self.all_due()

    def _reported(self, state: WatchState) -> None:
        if state.phase is Phase.FAILED and state.error is not None:
            self._note(state.error)

    async def _settle(self, namespace: str, bundle: str) -> None:
        """Make one namespace's copy what it should be. Conflicts come back by the watch."""
        if namespace not in self._namespaces or self._copies.get(namespace, "") == bundle:
            return
        if not self._writes.take(namespace, asyncio.get_running_loop().time()):
            raise _Contested
        try:
            if namespace in self._copies:
                patch = {"metadata": {"labels": _LABELS}, "data": {ROOT_CERT: bundle}}
                await self._api.patch(CONFIG_MAP, CONFIG_MAP_NAME, patch, namespace)
            else:
                metadata = {"name": CONFIG_MAP_NAME, "namespace": namespace, "labels": _LABELS}
                body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
                await self._api.create(CONFIG_MAP, body | {"data": {ROOT_CERT: bundle}}, namespace)
        except ApiError as error:
            # Gone, made by another replica, or in a namespace that is ending: the watch tells what holds.
            if error.status not in (404, 409) and "being terminated" not in error.message:
                raise
        else:
            self._log.info("trust bundle written", namespace=namespace)

    def _note(self, error: ApiError | Unreachable) -> None:
        """Remember a right that is missing, and log it where that is new."""
        if not (isinstance(error, ApiError) and error.status in (401, 403)):
            return
        self._is_refused = error.status == 403
        self._tell(str(error))

    def _tell(self, reason: str) -> None:
        if not self.missing:
            self._log.warning("trust bundle is not distributed", reason=reason)
        self.missing = f"the trust bundle is not distributed: {reason}"


def _is_served(namespace: str) -> bool:
    """Istio leaves out what belongs to Kubernetes itself (inject.IgnoredNamespaces)."""
    return not namespace.startswith("kube-") and namespace != "local-path-storage"


@asynccontextmanager
async def distributing_bundle(
    api: Api, source: BundleSource, *, cluster: ClusterId
) -> AsyncGenerator[Distribution]:
    """Keep every namespace's copy of the trusted roots in that cluster, until the block ends."""
    distribution = Distribution(api, source, cluster)
    with source.subscribe(distribution.all_due):
        async with task_scope() as tasks:
            tasks.serve(distribution.watch_namespaces(), name="namespaces")
            tasks.serve(distribution.watch_copies(), name="trust bundles")
            tasks.serve(distribution.serve(), name="distribute trust bundle")
            yield distribution
