"""The life of custom kinds: served as soon as they are defined, emptied before their definition goes."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NoReturn

from isthmus.lab.apiserver import deletion, kinds
from isthmus.lab.apiserver.authn import User
from isthmus.lab.apiserver.cluster import Cluster
from isthmus.lab.apiserver.definitions import CLEANUP, resources_of
from isthmus.lab.apiserver.objects import Object, copy, metadata, section, strings
from isthmus.lab.apiserver.rbac import MASTERS
from isthmus.lab.apiserver.requests import Target
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.store import Change, Key, Stored
from isthmus.lib.lifecycle import task_scope

_SELF = User("system:apiserver", (MASTERS,))


@asynccontextmanager
async def running_custom_kinds(cluster: Cluster) -> AsyncGenerator[None]:
    """Empty and remove the definitions that are being deleted, until the block ends."""
    wake = asyncio.Event()
    wake.set()

    def changed(change: Change) -> None:
        if change.resource is kinds.CUSTOM_RESOURCE_DEFINITIONS or change.resource.definition is not None:
            wake.set()

    cluster.store.listen(changed)
    async with task_scope() as tasks:
        tasks.serve(_clean(cluster, wake), name="custom kinds")
        yield


async def _clean(cluster: Cluster, wake: asyncio.Event) -> NoReturn:
    while True:
        await wake.wait()
        wake.clear()
        for stored in cluster.store.values(kinds.CUSTOM_RESOURCE_DEFINITIONS):
            if "deletionTimestamp" in metadata(stored.object):
                _empty(cluster, stored)


def _empty(cluster: Cluster, definition: Stored) -> None:
    """Delete every object of the kind; let the definition go when none is left."""
    object_ = definition.object
    found = resources_of(object_) or [_unserved(object_)]
    for key, stored in cluster.store.entries(found[0]):
        target = Target(found[0], key.namespace, key.name, _SELF)
        if "deletionTimestamp" not in metadata(stored.object):
            deletion.delete(cluster, target, stored, deletion.DeleteOptions())
    if cluster.store.entries(found[0]) or CLEANUP not in strings(metadata(object_), "finalizers"):
        return
    last = copy(object_)
    last["metadata"]["finalizers"].remove(CLEANUP)
    finished = deletion.is_finished(kinds.CUSTOM_RESOURCE_DEFINITIONS, last)
    key = Key("", metadata(object_)["name"])
    cluster.store.commit(kinds.CUSTOM_RESOURCE_DEFINITIONS, key, None if finished else last)
    if finished:
        cluster.watches.end(found[0])


def _unserved(definition: Object) -> Resource:
    """The kind of a definition none of whose versions is served, as far as the store asks."""
    spec = section(definition, "spec")
    names = section(spec, "names")
    return Resource(spec["group"], "", names["plural"], names["kind"])
