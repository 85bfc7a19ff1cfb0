"""A gRPC channel to the control plane: plain text, or TLS with a token that proves who calls.

Roots and token are files that others renew, so they are read for each channel anew.
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc import aio

from isthmus.lib.address import HostPort
from isthmus.policy.pilot_feed import Dialled

_OPTIONS = (
    # Every pod of the mesh in one message.
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files with PEM roots and a token of audience `istio-ca`, and the cluster that issued the token."""

    roots: Path
    token: Path
    cluster: str


class PilotChannel:
    """Where the control plane is; `credentials` None: in plain text, and nothing is proved."""

    def __init__(self, address: HostPort, credentials: Credentials | None) -> None:
        self._address = address
        self._credentials = credentials

    def __call__(self) -> AbstractAsyncContextManager[Dialled]:
        """A `pilot_feed.Dial`. Raises OSError where a file cannot be read."""
        return self._dial()

    @asynccontextmanager
    async def _dial(self) -> AsyncGenerator[Dialled]:
        target, proof = str(self._address), self._credentials
        if proof is None:
            async with aio.insecure_channel(target, options=_OPTIONS) as channel:
                yield Dialled(channel)
            return
        roots, token = proof.roots.read_bytes(), proof.token.read_text().strip()
        metadata = (("authorization", f"Bearer {token}"), ("clusterid", proof.cluster))
        credentials = grpc.ssl_channel_credentials(roots)
        async with aio.secure_channel(target, credentials, options=_OPTIONS) as channel:
            yield Dialled(channel, metadata)
