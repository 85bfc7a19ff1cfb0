"""What the policy server shows to proxies that come by mutual TLS: its own certificate, kept valid."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

import grpc

from isthmus.agent.ca_client import CaClient
from isthmus.agent.identity import Identity, running_identity
from isthmus.apps.policy_options import Pilot
from isthmus.model.identity import TrustDomain

_MOST_NAMES = 10_000


class Shown:
    """The certificate of the moment, for gRPC to ask for at each handshake; any thread may."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        """Set once there is a certificate."""
        self._configuration: Any = None
        self._told: Any = None

    def take(self, identity: Identity) -> None:
        """There is another certificate, or there are other roots."""
        certificate = identity.certificate
        if certificate is None or identity.roots is None:
            return
        self._configuration = grpc.ssl_server_certificate_configuration(
            [(certificate.key, certificate.chain)], root_certificates=identity.roots
        )
        self.ready.set()

    def credentials(self) -> grpc.ServerCredentials:
        """For `add_secure_port`: clients must show a certificate under the mesh's roots. Once `ready`."""
        self._told = self._configuration
        return grpc.dynamic_ssl_server_credentials(
            self._told, self._fetch, require_client_authentication=True
        )

    def _fetch(self) -> Any:
        latest = self._configuration
        if latest is self._told:
            return None
        self._told = latest
        return latest


@asynccontextmanager
async def showing_certificate(pilot: Pilot) -> AsyncGenerator[Shown | None]:
    """Have a certificate of the mesh's CA until the block ends; None where nothing is proved in this mesh."""
    proof = pilot.credentials
    if proof is None:
        yield None
        return
    shown = Shown()
    ca = CaClient(pilot.address, proof.cluster, proof.token)
    async with running_identity(proof.roots, ca.request, shown.take):
        yield shown


def proving_member(domain: TrustDomain) -> Callable[[tuple[bytes, ...]], bool]:
    """Whether the names in a certificate are a workload's of this mesh: its roots may sign for others too."""

    @lru_cache(_MOST_NAMES)
    def member(names: tuple[bytes, ...]) -> bool:
        return any(domain.read(name.decode(errors="replace")) is not None for name in names)

    return member
