"""The API server's way to kubelets: logs are fetched from the node that runs the Pod, and passed through.

Source: the kubelet's `/containerLogs/NAMESPACE/POD/CONTAINER`, and the options of `pods/log`.
"""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

from isthmus.lab.apiserver import kinds
from isthmus.lab.apiserver.errors import RefusedError, bad_request
from isthmus.lab.apiserver.objects import Object, items, metadata, section
from isthmus.lab.apiserver.store import Key, Store
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


class Kubelets:
    """A client of every kubelet of the cluster."""

    def __init__(self, store: Store, session: ClientSession, port: int) -> None:
        self._store = store
        self._session = session
        self._port = port

    async def serve_logs(self, request: web.Request, pod: Object) -> web.StreamResponse:
        """Answer `pods/log` with what the Pod's kubelet says."""
        meta = metadata(pod)
        container = _chosen_container(pod, request.query.get("container", ""))
        node = section(pod, "spec").get("nodeName", "")
        if not node:
            raise bad_request(f"pod {meta['name']} does not have a host assigned")
        address = self._address(node)
        path = f"/containerLogs/{meta['namespace']}/{meta['name']}/{container}"
        parameters = {name: request.query[name] for name in _OPTIONS if name in request.query}
        url = f"https://{address}:{self._port}{path}"
        try:
            async with self._session.get(url, params=parameters) as upstream:
                if upstream.status != 200:
                    text = (await upstream.text()).strip()
                    reason = {400: "BadRequest", 404: "NotFound"}.get(upstream.status, "InternalError")
                    raise RefusedError(upstream.status, reason, text)
                response = web.StreamResponse(headers={"Content-Type": "text/plain"})
                await response.prepare(request)
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
                return response
        except (ConnectionResetError, ConnectionAbortedError):
            raise
        except ClientError as error:
            text = f'Get "{url}": {error}'
            raise RefusedError(500, "InternalError", f"Internal error occurred: {text}") from None

    def _address(self, node: str) -> str:
        found = self._store.get(kinds.NODES, Key("", node))
        addresses = items(section(found.object, "status"), "addresses") if found else []
        for wanted in ("InternalIP", "ExternalIP", "Hostname"):
            for one in addresses:
                if one.get("type") == wanted:
                    return str(one["address"])
        raise RefusedError(
            500, "InternalError", f'Internal error occurred: no address of node "{node}" is known'
        )


def _chosen_container(pod: Object, wanted: str) -> str:
    spec, name = section(pod, "spec"), metadata(pod)["name"]
    main = [one["name"] for one in items(spec, "containers")]
    known = main + [one["name"] for one in items(spec, "initContainers")]
    if wanted:
        if wanted not in known:
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(known) == 1:
        return known[0]
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
        yield Kubelets(store, session, port)
