"""The API server's way to kubelets: logs are fetched from the node that runs the Pod, and passed through;
so are commands in containers, and forwarded ports.

Source: the kubelet's `/containerLogs/NAMESPACE/POD/CONTAINER` and `/exec`, `/attach`, `/portForward`; the
options of `pods/log`, PodExecOptions, PodAttachOptions.
"""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web
from yarl import URL

from isthmus.lab.apiserver import kinds
from isthmus.lab.apiserver.errors import RefusedError, bad_request, not_found
from isthmus.lab.apiserver.objects import Object, items, metadata, section
from isthmus.lab.apiserver.requests import flag
from isthmus.lab.apiserver.store import Key, Store
from isthmus.lab.apiserver.tunnel import DeclinedError, tunnel, wants_upgrade
from isthmus.lab.pki import PkiFiles

_OPTIONS = (
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
    "stream",
)


STREAMING = ("attach", "exec", "portforward")
"""Subresources of Pods that switch protocols."""
_FLAGS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
"""What the API calls standard streams, and what kubelets do."""


class Kubelets:
    """A client of every kubelet of the cluster."""

    def __init__(self, store: Store, session: ClientSession, port: int, tls: ssl.SSLContext) -> None:
        self._store = store
        self._session = session
        self._port = port
        self._tls = tls

    async def serve_logs(self, request: web.Request, pod: Object) -> web.StreamResponse:
        """Answer `pods/log` with what the Pod's kubelet says."""
        meta = metadata(pod)
        container = _chosen_container(pod, request.query.get("container", ""))
        url = self._url(pod, f"/containerLogs/{meta['namespace']}/{meta['name']}/{container}")
        parameters = {name: request.query[name] for name in _OPTIONS if name in request.query}
        try:
            async with self._session.get(url, params=parameters) as upstream:
                if upstream.status != 200:
                    raise _passed_on(upstream.status, await upstream.text())
                response = web.StreamResponse(headers={"Content-Type": "text/plain"})
                await response.prepare(request)
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
                return response
        except (ConnectionResetError, ConnectionAbortedError):
            raise
        except ClientError as error:
            raise _unreachable(url, error) from None

    async def serve_stream(self, request: web.Request, pod: Object, subresource: str) -> web.StreamResponse:
        """Answer `pods/exec`, `pods/attach` or `pods/portforward` by a tunnel to the Pod's kubelet."""
        meta = metadata(pod)
        path = f"{meta['namespace']}/{meta['name']}"
        if subresource == "portforward":
            url = self._url(pod, f"/portForward/{path}")
        else:
            container = _chosen_container(pod, request.query.get("container", ""))
            given = [(theirs, "1") for ours, theirs in _FLAGS.items() if flag(request.query, ours)]
            given += [("command", word) for word in request.query.getall("command", ())]
            url = self._url(pod, f"/{subresource}/{path}/{container}").with_query(given)
        if not wants_upgrade(request):
            raise bad_request("Upgrade request required")
        try:
            return await tunnel(request, url, request.headers, self._tls)
        except DeclinedError as declined:
            raise _passed_on(declined.status, declined.text) from None
        except (OSError, TimeoutError) as error:
            raise _unreachable(url, error) from None

    def _url(self, pod: Object, path: str) -> URL:
        node = section(pod, "spec").get("nodeName", "")
        if not node:
            raise bad_request(f"pod {metadata(pod)['name']} does not have a host assigned")
        return URL(f"https://{self._address(node)}:{self._port}{path}")

    def _address(self, node: str) -> str:
        found = self._store.get(kinds.NODES, Key("", node))
        if found is None:
            raise not_found("", "nodes", node)
        addresses = items(section(found.object, "status"), "addresses")
        for wanted in ("InternalIP", "ExternalIP", "Hostname"):
            for one in addresses:
                if one.get("type") == wanted:
                    return str(one["address"])
        raise RefusedError(500, "", f"no preferred addresses found; known addresses: {addresses}")


def _passed_on(status: int, text: str) -> RefusedError:
    """A kubelet's refusal, as ours."""
    reason = {400: "BadRequest", 403: "Forbidden", 404: "NotFound"}.get(status, "InternalError")
    return RefusedError(status, reason, text.strip())


def _unreachable(url: URL, error: Exception) -> RefusedError:
    text = f'Get "{url.with_query(None)}": {error or "timed out"}'
    return RefusedError(500, "InternalError", f"Internal error occurred: {text}")


def _chosen_container(pod: Object, wanted: str) -> str:
    spec, name = section(pod, "spec"), metadata(pod)["name"]
    main = [one["name"] for one in items(spec, "containers")]
    known = main + [one["name"] for one in items(spec, "initContainers")]
    if wanted:
        if wanted not in known:
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(main) == 1:
        return main[0]
    choices = f"choose one of: [{' '.join(main)}]"
    if len(known) > len(main):
        choices += f" or one of the init containers: [{' '.join(known[len(main) :])}]"
    raise bad_request(f"a container name must be specified for pod {name}, {choices}")


@asynccontextmanager
async def running_kubelets(store: Store, files: PkiFiles, port: int) -> AsyncGenerator[Kubelets]:
    """A client that shows kubelets the API server's certificate and believes only the cluster's CA."""
    context = ssl.create_default_context(cafile=str(files.ca_cert))
    name = "apiserver-kubelet-client"
    context.load_cert_chain(files.cert(name), files.key(name))
    timeout = ClientTimeout(total=None, connect=5)
    async with ClientSession(connector=TCPConnector(ssl=context, limit=0), timeout=timeout) as session:
        yield Kubelets(store, session, port, context)
