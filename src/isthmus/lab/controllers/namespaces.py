"""What every namespace has from its birth, and how one ends: contents first, then itself."""

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError
from isthmus.lab.controllers.cache import Cache, Caches
from isthmus.lab.controllers.discovery import discover
from isthmus.lab.controllers.objects import Key, Object, is_terminating, key_of
from isthmus.lab.controllers.queue import WorkQueue

ROOT_CA = "kube-root-ca.crt"


class Namespaces:
    """Reconciles namespaces by name."""

    def __init__(self, client: Client, caches: Caches, queue: WorkQueue, ca_pem: str) -> None:
        self._client = client
        self._namespaces = caches["", "namespaces"]
        self._accounts = caches["", "serviceaccounts"]
        self._config_maps = caches["", "configmaps"]
        self._contents = [cache for cache in caches if cache.kind.namespaced]
        self._ca_pem = ca_pem
        self._queue = queue
        self._namespaces.listen(self._namespace_changed)
        for cache in self._contents:
            cache.listen(self._content_changed)

    def _namespace_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._queue.add(key_of(new))

    def _content_changed(self, old: Object | None, new: Object | None) -> None:
        either = new or old
        if either is None:
            return
        namespace = self._namespaces.get(Key("", key_of(either).namespace))
        is_default = key_of(either).name in ("default", ROOT_CA)
        if namespace is not None and ((is_terminating(namespace) and new is None) or is_default):
            self._queue.add(key_of(namespace))

    async def reconcile(self, key: Key) -> None:
        """Give a living namespace its defaults; take a dying one's contents, then let it go."""
        namespace = self._namespaces.get(key)
        if namespace is None:
            return
        if is_terminating(namespace):
            await self._empty(namespace)
            return
        if self._accounts.get(Key(key.name, "default")) is None:
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            await self._ensure(self._accounts, account, key.name)
        existing, data = self._config_maps.get(Key(key.name, ROOT_CA)), {"ca.crt": self._ca_pem}
        if existing is None:
            config_map = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": ROOT_CA},
                "data": data,
            }
            await self._ensure(self._config_maps, config_map, key.name)
        elif existing.get("data") != data:
            await self._client.replace(self._config_maps.kind, ROOT_CA, {**existing, "data": data}, key.name)

    async def _ensure(self, cache: Cache, body: Object, namespace: str) -> None:
        try:
            await self._client.create(cache.kind, body, namespace)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    async def _empty(self, namespace: Object) -> None:
        """Delete all that lives there; when the server itself lists nothing more, finalize.

        Each removal brings us back here, so nothing is waited for.
        """
        name, left = key_of(namespace).name, False
        for kind in await discover(self._client):
            if not kind.namespaced:
                continue
            for item in (await self._client.list(kind, name)).items:
                left = True
                if not is_terminating(item):
                    try:
                        await self._client.delete(kind, key_of(item).name, name)
                    except ApiError as error:
                        if error.status not in (404, 409):
                            raise
                    self._queue.add(key_of(namespace))
        if left:
            return
        body: Object = {**namespace, "apiVersion": "v1", "kind": "Namespace", "spec": {"finalizers": []}}
        try:
            await self._client.request("PUT", f"/api/v1/namespaces/{name}/finalize", body=body)
        except ApiError as error:
            if error.status != 404:
                raise
