"""What a gRPC listener allows. Times in seconds, sizes in bytes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """`streams` and `connections` are counted over the listener, `concurrent` on one connection."""

    streams: int = 20_000
    connections: int = 20_000
    concurrent: int = 100
    message_bytes: int = 4 * 1024 * 1024
    metadata_bytes: int = 16 * 1024
    stall: float = 60.0
    """How long a peer may leave what is sent to it unread."""
    handshake: float = 10.0
    """How long a connection may take to speak, and a caller to be authenticated."""
    keepalive: float = 30.0
    """How long a peer may be silent before it is pinged."""
    keepalive_timeout: float = 10.0
    idle: float = 300.0
    """How long a connection may be without a call."""
    drain: float = 3.0
    """Over how long connections are closed when the listener ends, each at a random time."""
    gzip: bool = False
    """Whether to compress for callers that accept it: less network for more memory and CPU."""


DEFAULT = Limits()
