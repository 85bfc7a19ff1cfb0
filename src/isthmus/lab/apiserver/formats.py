"""Bodies: which formats a client sends and accepts, and the answers in them. Pure but for reading a body.

Objects are also given as `PartialObjectMetadata`; Tables are made in `tables`. CBOR is refused,
protobuf only read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml
from aiohttp import web
from multidict import CIMultiDict

from isthmus.lab.apiserver import wire
from isthmus.lab.apiserver.errors import (
    bad_request,
    not_acceptable,
    too_large,
    unsupported_media_type,
)
from isthmus.lab.apiserver.objects import Object, encode, metadata

LARGEST_BODY = 3 * 1024 * 1024
_JSON, _YAML = "application/json", "application/yaml"
_DISCOVERY = "APIGroupDiscoveryList"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The form of answer that a client prefers; `form` is empty for the plain one."""

    form: str = ""
    version: str = ""


def accepted(header: str, *, discovery: bool = False) -> Accepted:
    """The first form in an Accept header that this server has; 406 where there is none."""
    if not header:
        return Accepted()
    for alternative in header.split(","):
        media, *parameters = [part.strip() for part in alternative.split(";")]
        if media not in (_JSON, _YAML, "*/*", "application/*"):
            continue
        given = dict(part.split("=", 1) for part in parameters if "=" in part)
        form, version = given.get("as", ""), given.get("v", "")
        of_meta = version == "v1" and given.get("g") == "meta.k8s.io"
        match form:
            case "":
                return Accepted()
            case "Table" if of_meta and not discovery:
                return Accepted("Table", version)
            case "PartialObjectMetadata" | "PartialObjectMetadataList" if of_meta and not discovery:
                return Accepted("PartialObjectMetadata", version)
            case form_ if form_ == _DISCOVERY and version == "v2" and discovery:
                return Accepted(form, version)
            case _:
                continue
    raise not_acceptable()


def as_accepted(header: str, response: web.StreamResponse) -> web.StreamResponse:
    """The answer as YAML, where the client would rather have that than JSON."""
    media = [part.partition(";")[0].strip() for part in header.split(",")]
    preferred = next((one for one in media if one in (_JSON, _YAML, "*/*", "application/*")), _JSON)
    if preferred != _YAML or not isinstance(response, web.Response) or response.content_type != _JSON:
        return response
    if not isinstance(response.body, bytes):
        return response
    written = yaml.safe_dump(msgspec.json.decode(response.body), sort_keys=False, allow_unicode=True)
    headers = CIMultiDict(response.headers)
    headers.update({"Content-Type": _YAML})
    headers.popall("Content-Length", None)
    return web.Response(status=response.status, body=written.encode(), headers=headers)


async def read_body(request: web.Request) -> Any:
    """The decoded body, None for an empty one; 400, 413 or 415 where it cannot be read."""
    content = await _read(request)
    if not content:
        return None
    media = request.content_type if "Content-Type" in request.headers else _JSON
    if media == _YAML:
        return _decode_yaml(content)
    if media == wire.MEDIA_TYPE:
        return wire.decode_body(content)
    if media not in (_JSON, "application/octet-stream", "text/plain"):
        raise unsupported_media_type([_JSON, _YAML, wire.MEDIA_TYPE])
    return decode(content)


async def read_patch(request: web.Request, media_types: tuple[str, ...]) -> tuple[str, Any]:
    """A patch's media type and content."""
    if request.content_type not in media_types:
        raise unsupported_media_type(media_types)
    content = await _read(request)
    if request.content_type.endswith("+yaml"):
        return request.content_type, _decode_yaml(content)
    return request.content_type, decode(content)


def _decode_yaml(content: bytes) -> Any:
    """YAML, of which JSON, which is what clients send as such, is a part that is read faster."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        return yaml.load(content, _Loader)
    except yaml.YAMLError as error:
        raise bad_request(f"error decoding YAML: {error}") from None


class _Loader(yaml.SafeLoader):
    """YAML as JSON has it: times stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def decode(content: bytes) -> Any:
    """JSON; 400 where it is malformed."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        raise bad_request(f"error decoding the body as JSON: {error}") from None


async def _read(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise too_large() from None


def answer(
    body: Object | bytes, code: int = 200, *, content_type: str = _JSON, warnings: Sequence[str] = ()
) -> web.Response:
    """An answer with a JSON body, encoded or not."""
    content = body if isinstance(body, bytes) else encode(body)
    headers = CIMultiDict({"Content-Type": content_type, "Cache-Control": "no-cache, private"})
    for warning in warnings:
        quoted = warning.replace("\\", "\\\\").replace('"', '\\"')
        headers.add("Warning", f'299 - "{quoted}"')
    return web.Response(status=code, body=content, headers=headers)


def text(content: str, code: int = 200) -> web.Response:
    """A plain text answer, such as `ok`."""
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    return web.Response(status=code, body=content.encode(), headers=headers)


def discovery_type(form: Accepted) -> str:
    """The content type of aggregated discovery."""
    return f"{_JSON};g=apidiscovery.k8s.io;v={form.version};as={form.form}"


def partial(object_: Object) -> Object:
    """The object as PartialObjectMetadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata(object_)}


def partial_list(objects: list[Object], meta: Object) -> Object:
    """Objects as a PartialObjectMetadataList."""
    kind = "PartialObjectMetadata"
    whole = [partial(one) for one in objects]
    return {"kind": f"{kind}List", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": whole}
