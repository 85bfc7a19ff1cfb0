"""Who owns what of stored objects: joins `managers` to requests and kinds."""

from isthmus.lab.apiserver.managers import Shares, Write, after_update, read_shares, write_shares
from isthmus.lab.apiserver.objects import Object, metadata, now
from isthmus.lab.apiserver.requests import Target
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.schema import message_of
from isthmus.lab.apiserver.shapes import Shape, shape_of
from isthmus.lab.apiserver.structural import shape_of_schema


def structure_of(resource: Resource) -> Shape:
    """The shape of a kind's objects."""
    if resource.definition is not None:
        return shape_of_schema(resource.definition.schema)
    return shape_of(message_of(resource.group, resource.kind))


def write_of(target: Target) -> Write:
    """One request as ownership sees it."""
    resource = target.resource
    has_status = resource.subresource("status") is not None
    subresource = target.through or target.subresource
    return Write(target.manager, resource.group_version, now(), subresource, has_status)


def shares_of(object_: Object) -> Shares:
    """Who owns what of a stored object; nobody anything where that cannot be read."""
    try:
        return read_shares(object_)
    except ValueError:
        return {}


def record(object_: Object, shares: Shares) -> None:
    """Write the shares into an object's metadata."""
    meta, entries = metadata(object_), write_shares(shares)
    if entries:
        meta["managedFields"] = entries
    else:
        meta.pop("managedFields", None)


def record_created(target: Target, object_: Object) -> None:
    """A new object belongs to its creator."""
    if target.manager:
        shares = after_update(structure_of(target.resource), write_of(target), {}, {}, object_)
        record(object_, shares)


def record_updated(target: Target, object_: Object, old: Object) -> None:
    """What a write changed is the writer's; shares that the writer gave are taken for those from before.

    An object that nobody's ownership is kept of stays such until it is applied. A list of one empty entry
    is how a client asks for that.
    """
    meta, was = metadata(object_), metadata(old).get("managedFields")
    given = meta.pop("managedFields", None)
    if given == [{}] or (not was and not given):
        return
    if not target.manager:
        meta["managedFields"] = was
        return
    shares = shares_of({"metadata": {"managedFields": given}}) or shares_of(old)
    before = {**old, "metadata": {key: part for key, part in metadata(old).items() if key != "managedFields"}}
    record(object_, after_update(structure_of(target.resource), write_of(target), shares, before, object_))
