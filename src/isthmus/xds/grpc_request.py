"""What a call came with, read from its header fields (gRPC over HTTP2, "Requests")."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from isthmus.xds.grpc_status import CallFailed, Status

ENCODINGS = ("identity", "gzip")
_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


Head = tuple[str, Mapping[str, str]]
"""Path and headers, as `Request` has them."""


class NotGrpc(Exception):  # noqa: N818 (as `CallFailed`)
    """The request is none that gRPC can answer: end it with this HTTP status."""

    def __init__(self, http_status: int) -> None:
        super().__init__(f"HTTP status {http_status}")
        self.http_status = http_status


@dataclass(frozen=True, slots=True)
class Request:
    """`headers` has no pseudo-headers; repeated fields are joined by commas. It may hold credentials.

    `certificate` is the client's verified certificate, DER, None without one.
    """

    path: str
    headers: Mapping[str, str] = field(repr=False)
    peer: str
    certificate: bytes | None = field(default=None, repr=False)

    @property
    def encoding(self) -> str:
        """How the caller compresses messages. Raises CallFailed where that is unknown here."""
        encoding = self.headers.get("grpc-encoding", "identity")
        if encoding not in ENCODINGS:
            raise CallFailed(Status.UNIMPLEMENTED, f"grpc-encoding {encoding} is not known here")
        return encoding

    @property
    def accepts_gzip(self) -> bool:
        """Whether answers may be compressed."""
        accepted = self.headers.get("grpc-accept-encoding", "").split(",")
        return any(one.strip() == "gzip" for one in accepted)


def read_head(fields: Iterable[tuple[bytes, bytes]]) -> Head:
    """Raises NotGrpc for another HTTP method or content type."""
    headers: dict[str, str] = {}
    pseudo: dict[str, str] = {}
    for name, value in fields:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        if key.startswith(":"):
            pseudo[key] = text
        else:
            headers[key] = f"{headers[key]},{text}" if key in headers else text
    if pseudo.get(":method") != "POST":
        raise NotGrpc(405)
    if not _is_grpc(headers.get("content-type", "")):
        raise NotGrpc(415)
    return pseudo.get(":path", ""), MappingProxyType(headers)


def _is_grpc(content_type: str) -> bool:
    """`application/grpc`, also with `+proto` or parameters, but not `application/grpc-web`."""
    return content_type == "application/grpc" or content_type.startswith(
        ("application/grpc+", "application/grpc;")
    )


def timeout_of(headers: Mapping[str, str]) -> float:
    """Seconds of `grpc-timeout`, infinite without one. Raises CallFailed."""
    text = headers.get("grpc-timeout")
    if text is None:
        return float("inf")
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        raise CallFailed(Status.INVALID_ARGUMENT, "grpc-timeout is no timeout")
    return int(found[1]) * _UNITS[found[2]]
