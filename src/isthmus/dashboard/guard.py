"""Which requests may read a debug page: those from this machine, and those with a good bearer token.

From this machine come `kubectl port-forward` and `kubectl exec`, whose user the API server has checked. A
token stands in `Authorization: Bearer`, or in `X-Isthmus-Authorization: Bearer`, since an API server that
passes a request on to a Service (`services/proxy`) takes `Authorization` for itself. istiod has the same rule
for `/debug`: local, or authenticated. Who a token's owner must be, the caller decides.
"""

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from aiohttp import web

from isthmus.lib.pages import Page

_HEADERS = ("X-Isthmus-Authorization", "Authorization")
_BEARER = "bearer "
_HELP = (
    "Debug pages are for this machine (`kubectl port-forward`), or for a bearer token of an account of the "
    "control plane's namespace, or of one that may get this nonResourceURL.\n"
)


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a page is not shown: HTTP status (401, 403, 503) and a reason for the reader."""

    status: int
    reason: str


MayRead: TypeAlias = Callable[[str, str, str], Awaitable[Denied | None]]
"""Judges (token, path, host); None lets it read. The token may be ""."""


def guarded(page: Page, may_read: MayRead) -> Page:
    """The page, for those who may read it."""

    async def guard(request: web.Request) -> web.StreamResponse:
        host = request.remote or ""
        if not is_loopback(host):
            denied = await may_read(_token(request), request.path, host)
            if denied is not None:
                headers = {"WWW-Authenticate": "Bearer"} if denied.status == 401 else None
                text = f"{denied.reason}. {_HELP}"
                return web.Response(status=denied.status, text=text, headers=headers)
        return await page(request)

    return guard


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, IPv4 mapped into IPv6 included."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _token(request: web.Request) -> str:
    for name in _HEADERS:
        value = request.headers.get(name, "")
        if value.lower().startswith(_BEARER):
            return value[len(_BEARER) :].strip()
    return ""
