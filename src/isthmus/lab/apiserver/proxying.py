"""`services/proxy` and `pods/proxy`: a request is passed on to a Pod, and what it answers comes back.

Source: Kubernetes "Access Services Running on Clusters", and the `ResourceLocation` of Service and Pod in
k8s.io/kubernetes, pkg/registry/core. A Service is only the way to a Pod: addresses that are no Pod's are
passed over. Bodies stream both ways, never held whole; WebSockets and other upgrades pass. Links in HTML are
left alone.
"""

import posixpath
import random
import re
import ssl
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import quote, unquote, urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from isthmus.lab.apiserver import kinds
from isthmus.lab.apiserver.errors import RefusedError, bad_request, not_found
from isthmus.lab.apiserver.objects import Object, items, metadata, section
from isthmus.lab.apiserver.requests import Target
from isthmus.lab.apiserver.store import Key, Store
from isthmus.lab.apiserver.tunnel import DeclinedError, tunnel, wants_upgrade

_MOST_AT_ONCE = 100
_CONNECT_SECONDS = 5
_LONGEST_LINE = _LONGEST_HEADERS = 64 * 1024
_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
     "trailer", "transfer-encoding", "upgrade")
)  # fmt: skip
"""RFC 9110, 7.6.1."""
_OURS = re.compile("authorization|host|impersonate-.*", re.IGNORECASE)
"""Who asks, and as whom, is between client and API server; the host is passed on by itself."""
_OF_BROWSERS = re.compile("access-control-allow-(credentials|headers|methods|origin)", re.IGNORECASE)
"""What a Pod lets browsers do is not said in the API server's name (corsRemovingTransport)."""


@dataclass(frozen=True, slots=True)
class Reference:
    """`[SCHEME:]NAME[:PORT]`; what is not given is ""."""

    scheme: str
    name: str
    port: str


def read_reference(text: str) -> Reference | None:
    """The parts of a name in a proxy's path, None where it is none (utilnet.SplitSchemeNamePort)."""
    match text.split(":"):
        case [name] if name:
            return Reference("", name, "")
        case [name, port] if name:
            return Reference("", name, port)
        case [("" | "http" | "https") as scheme, name, port] if name:
            return Reference(scheme, name, port)
        case _:
            return None


def find_service(store: Store, namespace: str, text: str) -> str:
    """The URL of a Pod behind a Service, without a path; 400, 404 or 503."""
    reference = read_reference(text)
    if reference is None:
        raise bad_request(f'invalid service request "{text}"')
    port = reference.port
    if port.isdecimal():
        service = store.get(kinds.SERVICES, Key(namespace, reference.name))
        if service is None:
            raise not_found("", "services", reference.name)
        declared = [
            one for one in items(section(service.object, "spec"), "ports") if one["port"] == int(port)
        ]
        if not declared:
            raise _unavailable(f'no service port {int(port)} found for service "{reference.name}"')
        port = declared[0].get("name", "")
    found = list(_behind(store, namespace, reference.name, port))
    if not found:
        raise _unavailable(f'no endpoints available for service "{text}"')
    return f"{reference.scheme or 'http'}://{random.choice(found)}"


def find_pod(pod: Object, text: str) -> str:
    """The URL of a Pod, at the port that is named or at the first that it declares."""
    reference = read_reference(text)
    assert reference is not None
    port = reference.port or next(_ports(pod), "")
    address = section(pod, "status").get("podIP", "")
    if not _may_be_asked(address):
        raise bad_request("address not allowed")
    return f"{reference.scheme or 'http'}://{_host(address)}{f':{port}' if port else ''}"


def _ports(pod: Object) -> Iterator[str]:
    for container in items(section(pod, "spec"), "containers"):
        for port in items(container, "ports")[:1]:
            yield str(port["containerPort"])


def _behind(store: Store, namespace: str, service: str, port: str) -> Iterator[str]:
    """Each `HOST:PORT` of a Service's EndpointSlices that is ready, a Pod's, and has a port of that name."""
    for stored in store.values(kinds.ENDPOINT_SLICES, namespace):
        slice_ = stored.object
        if section(metadata(slice_), "labels").get("kubernetes.io/service-name") != service:
            continue
        numbers = [one["port"] for one in items(slice_, "ports") if (one.get("name") or "") == port]
        for endpoint in items(slice_, "endpoints"):
            address = endpoint["addresses"][0]
            ready = section(endpoint, "conditions").get("ready", True)
            if ready and _is_of_pod(store, namespace, endpoint, address) and _may_be_asked(address):
                yield from (f"{_host(address)}:{number}" for number in numbers)


def _is_of_pod(store: Store, namespace: str, endpoint: Object, address: str) -> bool:
    reference = section(endpoint, "targetRef")
    pod = store.get(kinds.PODS, Key(namespace, reference.get("name", "")))
    if pod is None or reference.get("namespace") != namespace:
        return False
    return address in [one.get("ip") for one in items(section(pod.object, "status"), "podIPs")]


def path_below(path: str) -> str:
    """What a Pod is asked for, of the decoded path `/api/v1/namespaces/NS/PLURAL/NAME/proxy/…`; "" for none.

    As kube-apiserver has it, which keeps no escapes: `%2F` reaches a Pod as `/`, and dots are resolved.
    """
    below = "/".join(path.strip("/").split("/")[7:])
    joined = posixpath.normpath(below) if below else ""
    slash = "/" if path.endswith("/") else ""
    return quote(f"/{joined}{slash}", safe="/$&+,:;=@") if joined else slash


def rewritten(location: str, prefix: str, hosts: Collection[str]) -> str:
    """Where a Pod's redirect leads when it is followed through the proxy; others' hosts stay (rewriteURL)."""
    url = urlsplit(location)
    if (url.netloc and url.netloc not in hosts) or not url.path.startswith("/"):
        return location
    path = url.path if url.path.startswith(prefix) else prefix + url.path
    return url._replace(scheme="", netloc="", path=path).geturl()


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _may_be_asked(address: str) -> bool:
    """Not this machine nor its link (IsProxyableIP)."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return not (parsed.is_loopback or parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified)


def _unavailable(message: str) -> RefusedError:
    return RefusedError(503, "ServiceUnavailable", message)


class Proxy:
    """Passes requests on."""

    def __init__(self, store: Store, session: ClientSession, tls: ssl.SSLContext) -> None:
        self._store = store
        self._session = session
        self._tls = tls

    async def serve(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Answer with what the Pod answers, whatever its status; 503 where it cannot be reached."""
        if target.resource is kinds.SERVICES:
            where = find_service(self._store, target.namespace, target.name)
        else:
            where = find_pod(self._pod(target), target.name)
        path = unquote(request.rel_url.raw_path)
        below = path_below(path)
        query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
        if not below and request.method in ("GET", "HEAD"):
            return web.Response(status=301, headers={"Location": f"{request.rel_url.raw_path}/{query}"})
        url = URL(f"{where}{below}{query}", encoded=True)
        return await (self._upgrade(request, url) if wants_upgrade(request) else self._pass_on(request, url))

    def _pod(self, target: Target) -> Object:
        reference = read_reference(target.name)
        if reference is None:
            raise bad_request(f'invalid pod request "{target.name}"')
        found = self._store.get(kinds.PODS, Key(target.namespace, reference.name))
        if found is None:
            raise not_found("", "pods", reference.name)
        return found.object

    async def _upgrade(self, request: web.Request, url: URL) -> web.StreamResponse:
        headers = _forwarded(request)
        headers.update({name: request.headers.get(name, "") for name in ("Connection", "Upgrade")})
        try:
            return await tunnel(request, url, headers, self._tls if url.scheme == "https" else None)
        except DeclinedError as declined:
            return web.Response(status=declined.status, text=declined.text)
        except (OSError, TimeoutError) as error:
            raise _unavailable(f"error trying to reach service: {error or 'timed out'}") from None

    async def _pass_on(self, request: web.Request, url: URL) -> web.StreamResponse:
        body = request.content if request.can_read_body else None
        try:
            async with self._session.request(
                request.method, url, data=body, headers=_forwarded(request), allow_redirects=False
            ) as upstream:
                kept = _answered(request, url, upstream.headers)
                response = web.StreamResponse(status=upstream.status, reason=upstream.reason, headers=kept)
                await response.prepare(request)
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except (ConnectionResetError, ConnectionAbortedError):
            raise
        except (ClientError, TimeoutError) as error:
            raise _unavailable(f"error trying to reach service: {error or 'timed out'}") from None


def _forwarded(request: web.Request) -> CIMultiDict[str]:
    headers = _end_to_end(request.headers)
    for name in [name for name in headers if _OURS.fullmatch(name)]:
        headers.popall(name, None)
    before = headers.popall("X-Forwarded-For", [])
    headers["X-Forwarded-For"] = ", ".join([*before, request.remote or ""])
    headers["X-Forwarded-Uri"] = request.rel_url.raw_path
    headers["Host"] = request.host
    return headers


def _answered(request: web.Request, url: URL, headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    kept = _end_to_end(headers)
    for name in [name for name in kept if _OF_BROWSERS.fullmatch(name)]:
        kept.popall(name, None)
    if "Location" in kept:
        prefix = "/".join(unquote(request.rel_url.raw_path).split("/")[:8])
        kept["Location"] = rewritten(kept["Location"], prefix, (url.raw_authority, request.host))
    return kept


def _end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    named = {part.strip().lower() for line in headers.getall("Connection", ()) for part in line.split(",")}
    kept = ((name, value) for name, value in headers.items() if name.lower() not in _HOP_BY_HOP | named)
    return CIMultiDict(kept)


@asynccontextmanager
async def running_proxy(store: Store) -> AsyncGenerator[Proxy]:
    """A client of Pods that, as kube-apiserver's, believes any certificate and leaves bodies as they are."""
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    async with ClientSession(
        connector=TCPConnector(ssl=unverified, limit=_MOST_AT_ONCE),
        timeout=ClientTimeout(total=None, connect=_CONNECT_SECONDS),
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        max_line_size=_LONGEST_LINE,
        max_field_size=_LONGEST_HEADERS,
    ) as session:
        yield Proxy(store, session, unverified)
