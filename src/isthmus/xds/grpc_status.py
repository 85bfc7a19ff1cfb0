"""How a gRPC call ends, as HTTP/2 says it (gRPC over HTTP2, "Responses")."""

from enum import IntEnum

_MOST_REASON = 1024
"""Characters of a reason that are sent."""


class Status(IntEnum):
    """gRPC's status codes, those that are used here."""

    OK = 0
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class CallFailed(Exception):  # noqa: N818 (it is how a call ends, not a fault of ours)
    """End this call with that status; nobody else is touched."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def trailers(status: Status, reason: str) -> list[tuple[str, str]]:
    """The header fields that end a call."""
    fields = [("grpc-status", str(status.value))]
    if reason:
        fields.append(("grpc-message", percent_encoded(reason[:_MOST_REASON])))
    return fields


def percent_encoded(text: str) -> str:
    """`grpc-message`: printable ASCII but for `%` as it is, all else as %XX of its UTF-8."""
    encoded = text.encode("utf-8", "replace")
    return "".join(chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}" for byte in encoded)
