"""Garbage collection: what is owned goes when its last owner has gone.

Background deletion, foreground (`foregroundDeletion` waits for what blocks) and `orphan`, as the
garbage collector's finalizers say. Refused: owners across namespaces, which Kubernetes forbids too.
"""

from collections import deque
from collections.abc import Iterator

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError
from isthmus.lab.controllers.cache import Cache, Caches
from isthmus.lab.controllers.objects import Key, Object, entries, is_terminating, key_of, uid_of
from isthmus.lab.controllers.queue import WorkQueue

_MOST_REMEMBERED = 500
_FOREGROUND, _ORPHAN = "foregroundDeletion", "orphan"


class Garbage:
    """Reconciles objects by uid: a request's name is the uid of an owner or of what is owned."""

    def __init__(self, client: Client, caches: Caches, queue: WorkQueue) -> None:
        self._client = client
        self._caches = caches
        self._queue = queue
        self._objects: dict[str, tuple[Cache, Object]] = {}
        self._owned: dict[str, set[str]] = {}
        self._gone: deque[str] = deque(maxlen=_MOST_REMEMBERED)
        """The uids of owners that have gone lately: their kind may have gone with them."""
        caches.follow(self._follow)

    def _follow(self, cache: Cache) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            if old is not None:
                self._objects.pop(uid_of(old), None)
                for owner in _owner_uids(old):
                    self._owned.get(owner, set[str]()).discard(uid_of(old))
                    self._ask(owner)
                if uid_of(old) in self._owned and (new is None or uid_of(new) != uid_of(old)):
                    self._gone.append(uid_of(old))
            if new is not None:
                self._objects[uid_of(new)] = (cache, new)
                for owner in _owner_uids(new):
                    self._owned.setdefault(owner, set()).add(uid_of(new))
            either = new or old
            if either is not None and (new is None or is_terminating(new) or any(_owner_uids(new))):
                self._ask(uid_of(either))

        cache.listen(changed)
        for uid, (_, item) in self._objects.items():  # whose owners could not be looked for until now
            if any(self._caches.of_reference(each) is cache for each in _references(item)):
                self._ask(uid)

    def _ask(self, uid: str) -> None:
        self._queue.add(Key("", uid))

    async def reconcile(self, key: Key) -> None:
        """Delete the object if nobody who owns it is left; see to its dependents."""
        found = self._objects.get(key.name)
        if found is None:
            for dependent in self._owned.pop(key.name, set[str]()):
                self._ask(dependent)
            return
        cache, item = found
        finalizers: list[str] = item["metadata"].get("finalizers", [])
        if is_terminating(item):
            if _ORPHAN in finalizers:
                await self._orphan_dependents(key.name)
                await self._drop_finalizer(cache, item, _ORPHAN)
            elif _FOREGROUND in finalizers and not await self._delete_dependents(key.name):
                await self._drop_finalizer(cache, item, _FOREGROUND)
        elif any(_owner_uids(item)) and not await self._has_owner(item):
            await self._delete(cache, item)

    async def _has_owner(self, item: Object) -> bool:
        """Whether any owner exists. One that no cache knows is asked for: the owner's watch may be behind."""
        for reference in _references(item):
            if reference["uid"] in self._objects:
                return True
            if reference["uid"] in self._gone:
                continue
            cache = self._caches.of_reference(reference)
            if cache is None:
                return True
            namespace = key_of(item).namespace if cache.kind.namespaced else None
            try:
                owner = await self._client.get(cache.kind, reference["name"], namespace)
            except ApiError as error:
                if error.status != 404:
                    raise
            else:
                if uid_of(owner) == reference["uid"]:
                    return True
        return False

    async def _delete(self, cache: Cache, item: Object) -> None:
        key = key_of(item)
        try:
            await self._client.delete(cache.kind, key.name, key.namespace or None, uid=uid_of(item))
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def _delete_dependents(self, uid: str) -> bool:
        """Delete what is owned; whether any of it still blocks its owner."""
        blocked = False
        for cache, item in self._dependents(uid):
            references = item["metadata"]["ownerReferences"]
            blocked |= any(ref["uid"] == uid and ref.get("blockOwnerDeletion") for ref in references)
            if not is_terminating(item):
                await self._delete(cache, item)
        return blocked

    async def _orphan_dependents(self, uid: str) -> None:
        for cache, item in self._dependents(uid):
            references = [ref for ref in item["metadata"]["ownerReferences"] if ref["uid"] != uid]
            await self._patch_metadata(cache, item, {"ownerReferences": references})

    async def _drop_finalizer(self, cache: Cache, item: Object, finalizer: str) -> None:
        finalizers = [each for each in item["metadata"]["finalizers"] if each != finalizer]
        version = item["metadata"]["resourceVersion"]
        await self._patch_metadata(cache, item, {"finalizers": finalizers, "resourceVersion": version})

    async def _patch_metadata(self, cache: Cache, item: Object, metadata: Object) -> None:
        key, body = key_of(item), {"metadata": {"uid": uid_of(item), **metadata}}
        try:
            await self._client.patch(cache.kind, key.name, body, key.namespace or None)
        except ApiError as error:
            if error.status != 404:
                raise

    def _dependents(self, uid: str) -> list[tuple[Cache, Object]]:
        known = (self._objects.get(each) for each in self._owned.get(uid, ()))
        return [each for each in known if each is not None]


def _references(item: Object) -> list[Object]:
    return entries(item, "metadata", "ownerReferences")


def _owner_uids(item: Object) -> Iterator[str]:
    return (reference["uid"] for reference in _references(item))
