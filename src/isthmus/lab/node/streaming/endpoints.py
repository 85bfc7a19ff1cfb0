"""`/exec`, `/attach` and `/portForward` of a kubelet.

Source: k8s.io/kubelet `cri/streaming`. What a client asks for is judged before the protocol is switched;
after that, it learns of a failure as a `Status` on its error stream.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiohttp import web

from isthmus.lab.node.logs import LogFile
from isthmus.lab.node.pods import PodRun
from isthmus.lab.node.runtime import ContainerProcess
from isthmus.lab.node.streaming import forwarding
from isthmus.lab.node.streaming.attaching import attach
from isthmus.lab.node.streaming.commands import failure, run_command
from isthmus.lab.node.streaming.conversations import (
    PROTOCOL_HEADER,
    PROTOCOLS,
    Conversation,
    Wanted,
    over_spdy,
    over_websocket,
    read_wanted,
    websocket_response,
)
from isthmus.lab.node.streaming.session import running_session
from isthmus.lab.node.streaming.wires import BareWire, MessageWire
from isthmus.lab.switching import switched

FindPod = Callable[[str, str], PodRun | None]
"""(namespace, name) → its run."""
Work = Callable[[Conversation], Awaitable[Mapping[str, Any]]]
"""What is done while a client is there; it answers with the `Status` that the client gets at the end."""


def streaming_routes(find: FindPod) -> list[web.RouteDef]:
    """The routes, for a server that has made sure who asks."""

    async def execute(request: web.Request) -> web.StreamResponse:
        state = _running(request, find)[0].state
        command = request.query.getall("command", [])
        if not command:
            raise _refused(400, "you must specify at least 1 command")
        wanted = _wanted(request)
        return await _converse(request, wanted, lambda client: run_command(state, command, wanted, client))

    async def attached(request: web.Request) -> web.StreamResponse:
        (process, log), wanted = _running(request, find), _wanted(request)
        return await _converse(request, wanted, lambda client: attach(process, log, wanted, client))

    async def forward(request: web.Request) -> web.StreamResponse:
        return await _forward(request, find)

    routes: list[web.RouteDef] = []
    for method in (web.get, web.post):
        routes += [
            method("/exec/{namespace}/{pod}/{container}", execute),
            method("/attach/{namespace}/{pod}/{container}", attached),
            method("/portForward/{namespace}/{pod}", forward),
        ]
    return routes


def _pod(request: web.Request, find: FindPod) -> PodRun:
    pod = find(request.match_info["namespace"], request.match_info["pod"])
    if pod is None:
        raise _refused(404, "pod does not exist")
    return pod


def _running(request: web.Request, find: FindPod) -> tuple[ContainerProcess, LogFile]:
    name = request.match_info["container"]
    container = _pod(request, find).container(name)
    if container is None:
        raise _refused(404, f'container not found ("{name}")')
    if container.process is None or container.log is None:
        raise _refused(404, f'container "{name}" is not running')
    return container.process, container.log


def _wanted(request: web.Request) -> Wanted:
    try:
        return read_wanted(request.query)
    except ValueError as error:
        raise _refused(400, str(error)) from None


async def _converse(request: web.Request, wanted: Wanted, work: Work) -> web.StreamResponse:
    protocol = _negotiated(request, PROTOCOLS)
    if _is_websocket(request):
        response = socket = websocket_response(protocol)
        talking = over_websocket(request, socket, wanted)
    else:
        response = web.StreamResponse(status=101)
        talking = over_spdy(request, response, wanted, protocol)
    with suppress(ConnectionError, TimeoutError):  # the client is gone, or never said what it wants
        async with talking as client:
            try:
                status = await work(client)
            except OSError as error:
                status = failure(error)
            await client.finish(status)
    return response


async def _forward(request: web.Request, find: FindPod) -> web.StreamResponse:
    pod = _pod(request, find)
    sandbox, name = pod.sandbox, f"{pod.pod.ref}"
    if sandbox is None:
        raise _refused(404, f"pod {name} has no network now")
    if _is_websocket(request):
        socket = websocket_response(_negotiated(request, (forwarding.TUNNEL_PROTOCOL,)))
        await socket.prepare(request)
        with suppress(ConnectionError):
            async with running_session(MessageWire(socket)) as session:
                await forwarding.forward_ports(session, sandbox.netns, name)
            await socket.close()
        return socket
    protocol = _negotiated(request, (forwarding.PROTOCOL,))
    response = web.StreamResponse(status=101)
    headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", PROTOCOL_HEADER: protocol}
    with suppress(ConnectionError):
        async with (
            switched(request, response, headers) as connection,
            running_session(BareWire(connection)) as session,
        ):
            await forwarding.forward_ports(session, sandbox.netns, name)
    return response


def _is_websocket(request: web.Request) -> bool:
    """Whether a WebSocket is asked for; 400 where it is neither that nor SPDY/3.1."""
    upgrade = request.headers.get("Upgrade", "").lower()
    if upgrade not in ("websocket", "spdy/3.1"):
        raise _refused(400, f"unable to upgrade: missing upgrade headers in request: {upgrade!r}")
    return upgrade == "websocket"


def _negotiated(request: web.Request, spoken: Sequence[str]) -> str:
    """The first subprotocol of the client's that we speak; 403 (httpstream.Handshake) where there is none."""
    name = "Sec-WebSocket-Protocol" if _is_websocket(request) else PROTOCOL_HEADER
    asked = [one.strip() for line in request.headers.getall(name, ()) for one in line.split(",")]
    for one in asked:
        if one in spoken:
            return one
    text = f"unable to negotiate protocol: client supports {asked}, server accepts {list(spoken)}"
    raise _refused(403, f"unable to upgrade: {text}")


def _refused(status: int, text: str) -> web.HTTPException:
    kind = {400: web.HTTPBadRequest, 403: web.HTTPForbidden, 404: web.HTTPNotFound}[status]
    return kind(text=text)
