"""Get and list: what is stored, as bytes that are joined, not encoded again. Synchronous.

Source: Kubernetes "API concepts", sections on resource versions and on retrieving large results in chunks.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from isthmus.lab.apiserver.cluster import Cluster
from isthmus.lab.apiserver.errors import bad_request, expired, not_found, version_in_future
from isthmus.lab.apiserver.objects import Object, encode
from isthmus.lab.apiserver.options import check_list_options
from isthmus.lab.apiserver.requests import number, resource_version
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.selectors import predicate
from isthmus.lab.apiserver.store import Key, Stored, prefix_of

_CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You can start a new list without the continue parameter, or use the continue token in this response to "
    "retrieve the remainder of the results. Continuing with the provided token results in an inconsistent "
    "list - objects that were created, modified, or deleted between the time the first chunk was returned "
    "and now may show up in the list."
)
_LATEST = -1
"""The revision in a `continue` token that goes on in the list as it is now."""


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list: objects in order, all as of one revision, and its `ListMeta`."""

    resource: Resource
    found: list[Stored]
    meta: Object


class _Continue(msgspec.Struct, frozen=True):
    """What a `continue` token says: the revision of the list, and the last key that was given out."""

    revision: int
    namespace: str
    name: str


def get(cluster: Cluster, resource: Resource, key: Key) -> Stored:
    """One object; 404 where there is none."""
    found = cluster.store.get(resource, key)
    if found is None:
        raise not_found(resource.group, resource.plural, key.name)
    return found


def list_page(cluster: Cluster, resource: Resource, namespace: str, query: Mapping[str, str]) -> Page:
    """The objects that the query asks for, from the first or from where its `continue` token stands."""
    check_list_options(query)
    chosen = predicate(resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
    limit = number(query, "limit") or 0
    token = query.get("continue", "")
    after, revision = _position(cluster, resource, token, query)
    entries = cluster.store.entries(resource, namespace, at=revision)
    if after is not None:
        entries = [entry for entry in entries if entry[0] > after]
    found = [entry for entry in entries if chosen is None or chosen(entry[1].object)]
    meta: Object = {"resourceVersion": str(revision)}
    if 0 < limit < len(found):
        last = found[limit - 1][0]
        meta["continue"] = _token(_Continue(revision, *last))
        if chosen is None:
            meta["remainingItemCount"] = len(found) - limit
        found = found[:limit]
    return Page(resource, [stored for _, stored in found], meta)


def encode_page(page: Page) -> bytes:
    """The list object: its items are the stored bytes, without their kind and apiVersion."""
    resource = page.resource
    head = encode({"kind": resource.list_kind, "apiVersion": resource.group_version, "metadata": page.meta})
    skipped = len(prefix_of(resource)) + 1
    items = b",".join(b"{" + stored.encoded_as(resource)[skipped:] for stored in page.found)
    return b'%s,"items":[%s]}' % (head[:-1], items)


def _position(
    cluster: Cluster, resource: Resource, token: str, query: Mapping[str, str]
) -> tuple[Key | None, int]:
    """After which key to go on, and as of which revision; 410 where that is forgotten."""
    current = cluster.store.revision
    asked = resource_version(query)
    if token:
        if asked:
            raise bad_request("specifying resource version is not allowed when using continue")
        position = _read_token(token)
        if position.revision == _LATEST:
            return Key(position.namespace, position.name), current
        if not cluster.store.remembers(resource, position.revision):
            rest = _Continue(_LATEST, position.namespace, position.name)
            raise expired(_CONTINUE_EXPIRED, go_on=_token(rest))
        return Key(position.namespace, position.name), position.revision
    if asked is not None and asked > current:
        raise version_in_future(asked, current)
    match = query.get("resourceVersionMatch") or ("Exact" if query.get("limit", "0") != "0" else "")
    if match == "Exact" and asked:
        if not cluster.store.remembers(resource, asked):
            raise expired("The resourceVersion for the provided list is too old.")
        return None, asked
    return None, current


def _token(position: _Continue) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def _read_token(token: str) -> _Continue:
    try:
        content = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        return msgspec.json.decode(content, type=_Continue)
    except (binascii.Error, ValueError):
        raise bad_request("invalid continue token: continue key is not valid") from None
