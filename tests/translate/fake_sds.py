"""The agent's side of SDS, for a real Envoy: one workload's key, certificate and roots over a Unix socket."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import grpc.aio
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any

from isthmus.ca.signer import Signer, new_key, new_root, pem_of

_SERVICE = "envoy.service.secret.v3.SecretDiscoveryService"
_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Credential:
    """PEM texts."""

    chain: bytes
    key: bytes = field(repr=False)
    roots: bytes

    def secret(self, name: str) -> Secret:
        """The secret of that name, as Istio's agents name them."""
        secret = Secret(name=name)
        if name == "ROOTCA":
            secret.validation_context.trusted_ca.inline_bytes = self.roots
        else:
            secret.tls_certificate.certificate_chain.inline_bytes = self.chain
            secret.tls_certificate.private_key.inline_bytes = self.key
        return secret


@cache
def authority() -> Signer:
    """The mesh's CA, one for all tests."""
    key = new_key()
    root = new_root(key, organization="tests", life=_DAY, now=datetime.now(UTC))
    return Signer(root, key, (), (root,))


def credential(uri: str, signer: Signer | None = None) -> Credential:
    """What the agent of the workload with that SPIFFE ID holds."""
    ca, key = signer or authority(), new_key()
    certificate = ca.issue(uri, key.public_key(), life=_HOUR, skew=_HOUR, now=datetime.now(UTC))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Credential(pem_of([certificate]), private, ca.bundle)


@asynccontextmanager
async def serving_secrets(held: Credential) -> AsyncGenerator[Path]:
    """The path of a socket where Envoy finds them."""

    async def stream(requests: AsyncIterator[bytes], _: object) -> AsyncGenerator[bytes]:
        sent = 0
        async for body in requests:
            request = DiscoveryRequest.FromString(body)
            if request.response_nonce and request.response_nonce == str(sent):
                continue
            sent += 1
            secrets = (held.secret(name) for name in request.resource_names)
            response = DiscoveryResponse(version_info="1", nonce=str(sent), type_url=_TYPE)
            response.resources.extend(
                Any(type_url=_TYPE, value=secret.SerializeToString()) for secret in secrets
            )
            yield response.SerializeToString()

    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(stream)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_SERVICE, {"StreamSecrets": handler}),)
    )
    with TemporaryDirectory(prefix="sds-") as folder:  # A test's own folder has too long a path for a socket.
        socket = Path(folder) / "sds"
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        try:
            yield socket
        finally:
            await server.stop(None)
