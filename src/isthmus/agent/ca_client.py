"""Asks the mesh's CA for a certificate: Istio's CertificateService over TLS, with the pod's token.

The CA proves itself by the mesh's roots and its DNS name. Nothing is kept between requests: the token and the
roots are those of the moment, for the kubelet renews both.
"""

import asyncio
import random
import ssl
from dataclasses import dataclass
from pathlib import Path

from isthmus.agent.certificate import Answer
from isthmus.agent.errors import CallRefusedError, NoCertificateError
from isthmus.agent.grpc_call import Call, make_call
from isthmus.lib.address import HostPort
from isthmus.lib.protobuf import text, texts_of
from isthmus.lib.resolving import resolve

_METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
_CSR = 1
_CERT_CHAIN = 1
_CLUSTER = 15012
"""Fields of IstioCertificateRequest and IstioCertificateResponse (Istio API, security/v1alpha1); the last one
is of our CA alone.
"""
_SECONDS = 10.0
_MOST_TOKEN = 64 * 1024


@dataclass(frozen=True, slots=True)
class CaClient:
    """The CA at `address`, for a pod whose projected token is in `token_file`.

    `cluster` is to review the token; "" leaves it to the control plane to find which one issued it.
    """

    address: HostPort
    cluster: str
    token_file: Path

    async def request(self, csr: str, roots: bytes) -> Answer:
        """What the CA answers a CSR (PEM). Raises NoCertificateError."""
        metadata = [("authorization", f"Bearer {self._token()}")]
        if self.cluster:
            metadata.append(("clusterid", self.cluster))
        call = Call(_METHOD, str(self.address), text(_CSR, csr), metadata, "https", "isthmus-agent")
        try:
            async with asyncio.timeout(_SECONDS):
                answer = await self._answer(call, roots)
                return Answer(texts_of(answer, _CERT_CHAIN), "".join(texts_of(answer, _CLUSTER)))
        except TimeoutError:
            reason = f"no answer within {_SECONDS:g} seconds"
        except ssl.SSLCertVerificationError as error:
            reason = f"its certificate is not trusted: {error.verify_message}"
        except (CallRefusedError, OSError, EOFError, ValueError) as error:
            reason = str(error) or type(error).__name__
        raise NoCertificateError(f"CA {self.address}: {reason}")

    async def _answer(self, call: Call, roots: bytes) -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=roots.decode())
        context.set_alpn_protocols(["h2"])
        host, port = self.address
        address = random.choice(await resolve(host, timeout=_SECONDS))
        reader, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=host)
        try:
            return await make_call(reader, writer, call)
        finally:
            writer.close()

    def _token(self) -> str:
        try:
            token = self.token_file.read_bytes()[:_MOST_TOKEN].decode("ascii").strip()
        except FileNotFoundError:
            token = ""
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise NoCertificateError(f"token {self.token_file} cannot be read: {reason}") from None
        if not token or any(char.isspace() for char in token):
            raise NoCertificateError(f"{self.token_file} holds no token; inject the pod anew")
        return token
