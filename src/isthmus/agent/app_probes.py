"""Makes the application's probes in the kubelet's stead, past Envoy.

What the agent sends to its own pod is told apart by its source, the address from which Envoy calls the
application, which the pod's rules let pass; over IPv6, where no pod has that address, it goes through Envoy.
Otherwise as the kubelet does it: no certificate is verified, redirects are followed on the same host and are
a success elsewhere.
"""

import asyncio
import ssl
from urllib.parse import urljoin, urlsplit

from isthmus.agent.grpc_health import check_health
from isthmus.config.app_probes import AppProbe, HttpGet

_SOURCE = "127.0.0.6"
_MOST_HEAD = 1 << 16
_MOST_REDIRECTS = 10


async def make_probe(probe: AppProbe, address: str) -> str | None:
    """None where the application at `address` passes, else one line that says why not. Never raises."""
    try:
        async with asyncio.timeout(probe.timeout_seconds):
            if probe.http_get is not None:
                return await _get(probe.http_get, address)
            if probe.tcp_socket is not None:
                _, writer = await _connect(address, probe.tcp_socket.port)
                writer.close()
                return None
            if probe.grpc is not None:
                return await _check_grpc(address, probe.grpc.port, probe.grpc.service or "")
    except TimeoutError:
        return f"no answer within {probe.timeout_seconds:g} seconds"
    except asyncio.LimitOverrunError:
        return "the answer's header is too large"
    except EOFError:
        return "the connection was closed before an answer"
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__
    return "the probe has no action"


async def _check_grpc(address: str, port: int, service: str) -> str | None:
    reader, writer = await _connect(address, port)
    try:
        return await check_health(reader, writer, _host(address, port), service)
    finally:
        writer.close()


async def _get(probe: HttpGet, address: str) -> str | None:
    secure = probe.scheme.upper() == "HTTPS"
    base = f"{'https' if secure else 'http'}://{_host(address, probe.port)}/"
    url = base + probe.path.removeprefix("/")
    for _ in range(_MOST_REDIRECTS):
        status, location = await _ask(url, probe, address)
        if not 300 <= status < 400 or not location:
            break
        url = urljoin(url, location)
        if not url.startswith(base):
            return None
    else:
        return f"more than {_MOST_REDIRECTS} redirects"
    return None if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"


async def _ask(url: str, probe: HttpGet, address: str) -> tuple[int, str]:
    """Status and `location` of the answer to one GET; its body is not read."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    given = {header.name.lower(): header.value for header in probe.http_headers}
    headers = {
        "host": parts.netloc,
        "user-agent": "kube-probe/isthmus",
        "accept": "*/*",
        **given,
        "connection": "close",
    }
    lines = [f"GET {target or '/'} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if any(char in line for line in lines for char in "\r\n"):
        raise ValueError("the probe's path or a header holds a line break")
    context = _unverified() if parts.scheme == "https" else None
    reader, writer = await _connect(address, probe.port, context)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode())
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, _, rest = head.partition("\r\n")
            version, _, after = first.partition(" ")
            if not version.startswith("HTTP/1.") or not after[:3].isdecimal():
                raise ValueError("what answered is no HTTP server")
            if int(after[:3]) >= 200:
                fields = (line.partition(":") for line in rest.split("\r\n"))
                found = {name.lower(): value.strip() for name, _, value in fields}
                return int(after[:3]), found.get("location", "")
    finally:
        writer.close()


async def _connect(
    address: str, port: int, context: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    source = None if ":" in address else (_SOURCE, 0)
    return await asyncio.open_connection(address, port, limit=_MOST_HEAD, ssl=context, local_addr=source)


def _host(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
