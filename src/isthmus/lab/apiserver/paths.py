"""Whatever is no resource: health, versions, discovery, OpenAPI, keys.

A path that is none is answered in plain text; below a group that is served, by a `Status`.
"""

from aiohttp import web

from isthmus.lab.apiserver import discovery, errors, formats, openapi, openapi_v2
from isthmus.lab.apiserver.cluster import Cluster
from isthmus.lab.apiserver.objects import Object
from isthmus.lab.apiserver.served import Kinds
from isthmus.lab.apiserver.tokens import ISSUER

_HEALTH = ("/healthz", "/livez", "/readyz")


def answer_path(cluster: Cluster, request: web.Request) -> web.Response:
    """The answer to a request for no resource; RefusedError 404, 405 or 406."""
    path = request.path.rstrip("/")
    if any(path == one or path.startswith(one + "/") for one in _HEALTH):
        return _health(path, verbose="verbose" in request.query)
    if request.method not in ("GET", "HEAD"):
        raise errors.method_not_allowed()
    served = cluster.kinds
    match path.split("/")[1:]:
        case ["version"]:
            return formats.answer(discovery.VERSION)
        case ["api" | "apis" as root]:
            return _discovery(cluster, request, root)
        case [] | [""]:
            return formats.answer({"paths": discovery.paths(served)})
        case ["api", version]:
            return _resources(cluster, "", version)
        case ["apis", group]:
            return _or_no_page(discovery.group(served, group))
        case ["apis", group, version]:
            return _resources(cluster, group, version)
        case ["openapi", "v2"]:
            return _openapi_v2(served, request.headers.get("Accept", ""))
        case ["openapi", "v3"]:
            return formats.answer(openapi.index(served))
        case ["openapi", "v3", "api", version]:
            return _or_no_page(openapi.document(served, "", version))
        case ["openapi", "v3", "apis", group, version]:
            return _or_no_page(openapi.document(served, group, version))
        case [".well-known", "openid-configuration"]:
            return formats.answer(_issuer(cluster))
        case ["openid", "v1", "jwks"]:
            return formats.answer(cluster.signer.key_set(), content_type="application/jwk-set+json")
        case _:
            return no_page()


def _openapi_v2(served: Kinds, accept: str) -> web.Response:
    document = openapi_v2.document_v2(served)
    if not any(one in accept for one in openapi_v2.ASKED_AS):
        return formats.answer(document)
    return formats.answer(openapi_v2.encode_v2(document), content_type=openapi_v2.PROTOBUF)


def no_page() -> web.Response:
    """404 for a path that nothing is served at."""
    return formats.text("404 page not found\n", 404)


def _or_no_page(document: Object | None) -> web.Response:
    return no_page() if document is None else formats.answer(document)


def _health(path: str, *, verbose: bool) -> web.Response:
    """`/readyz` and its siblings, and their one check, `ping`."""
    what, _, check = path.strip("/").partition("/")
    if check not in ("", "ping"):
        return no_page()
    return formats.text(f"[+]ping ok\n{what} check passed\n" if verbose and not check else "ok")


def _resources(cluster: Cluster, group: str, version: str) -> web.Response:
    found = discovery.resource_list(cluster.kinds, group, version)
    if found is None and group in cluster.kinds.versions():
        raise errors.page_not_found()
    return _or_no_page(found)


def _discovery(cluster: Cluster, request: web.Request, root: str) -> web.Response:
    form = formats.accepted(request.headers.get("Accept", ""), discovery=True)
    served, settings = cluster.kinds, cluster.settings
    if form.form:
        names = [name for name in served.versions() if bool(name) == (root == "apis")]
        content_type = formats.discovery_type(form)
        return formats.answer(discovery.aggregated(served, names), content_type=content_type)
    if root == "api":
        return formats.answer(discovery.core_versions(f"{settings.address}:{settings.port}"))
    return formats.answer(discovery.group_list(served))


def _issuer(cluster: Cluster) -> Object:
    settings = cluster.settings
    return {
        "issuer": ISSUER,
        "jwks_uri": f"https://{settings.address}:{settings.port}/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }
