"""`IstioCertificateService` for `grpc.aio`, on whatever server it is added to. It serves whoever is proved.

Status codes are istiod's: UNAUTHENTICATED without proof, UNAVAILABLE where proof or CA cannot be had now (try
again), INVALID_ARGUMENT for a bad request, PERMISSION_DENIED for another's identity, RESOURCE_EXHAUSTED for
too many requests. A refusal is one log line.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import grpc
import structlog
from grpc import aio

from isthmus.ca.authentication import Authenticator, credentials_of
from isthmus.ca.errors import CsrRefused, ProofUnavailable, Unauthenticated
from isthmus.ca.issuing import issue_certificate
from isthmus.ca.messages import METHOD, MalformedRequest, decode_request, encode_response
from isthmus.ca.rates import Rate, host_of
from isthmus.ca.signer import Lifetimes, Signer
from isthmus.model.identity import Identity, TrustDomain

_log = structlog.stdlib.get_logger(__name__)
_Context = aio.ServicerContext[bytes, bytes]


class SignerSource(Protocol):
    """Where the CA in force comes from; `authority.CertificateAuthority` is one."""

    @property
    def signer(self) -> Signer | None:
        """What signs now, None while nothing does."""
        ...


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """What the service allows each caller: a pod, or an address where no pod was proved."""

    message_bytes: int = 64 * 1024
    burst: int = 50
    per_second: float = 5.0


@dataclass(slots=True)
class Tally:
    """What it has done since it started, for metrics."""

    issued: int = 0
    unauthenticated: int = 0
    refused: int = 0
    unavailable: int = 0


class _Failure(Exception):  # noqa: N818 - how a call ends
    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class CertificateService(grpc.GenericRpcHandler):
    """Add it to a server with `add_generic_rpc_handlers`; the server's TLS proves client certificates."""

    def __init__(
        self,
        authenticator: Authenticator,
        source: SignerSource,
        trust_domain: TrustDomain,
        lifetimes: Lifetimes,
        *,
        limits: ServiceLimits = ServiceLimits(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.tally = Tally()
        self._authenticator = authenticator
        self._source = source
        self._trust_domain = trust_domain
        self._lifetimes = lifetimes
        self._limits = limits
        self._rate = Rate(limits.burst, limits.per_second)
        self._clock = clock

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """See gRPC."""
        if handler_call_details.method != METHOD:
            return None
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(self._create)
        return handler

    async def _create(self, data: bytes, context: _Context) -> bytes:
        credentials = credentials_of(
            context.invocation_metadata() or (), context.auth_context(), context.peer()
        )
        try:
            identity = await self._authenticator.authenticate(credentials)
        except Unauthenticated as refusal:
            self.tally.unauthenticated += 1
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, refusal.reason)
        except ProofUnavailable as failure:
            self.tally.unavailable += 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, failure.reason)
        try:
            answer = self._answer(data, identity, credentials.peer)
        except _Failure as failure:
            self._tell(failure, identity, credentials.peer)
            await context.abort(failure.code, failure.details)
        self.tally.issued += 1
        return answer

    def _answer(self, data: bytes, identity: Identity, peer: str) -> bytes:
        """Raises _Failure."""
        now = self._clock()
        if not self._rate.take(_caller(identity, peer), now):
            raise _Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many certificates were asked for")
        if len(data) > self._limits.message_bytes:
            too_long = f"the request has {len(data)} bytes, more than {self._limits.message_bytes}"
            raise _Failure(grpc.StatusCode.INVALID_ARGUMENT, too_long)
        signer = self._source.signer
        if signer is None:
            raise _Failure(grpc.StatusCode.UNAVAILABLE, "there is no valid CA now")
        try:
            chain = issue_certificate(
                decode_request(data),
                identity,
                signer,
                trust_domain=self._trust_domain,
                lifetimes=self._lifetimes,
                now=datetime.fromtimestamp(now, UTC),
            )
        except MalformedRequest as error:
            raise _Failure(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
        except CsrRefused as refusal:
            denied = grpc.StatusCode.PERMISSION_DENIED
            code = denied if refusal.foreign else grpc.StatusCode.INVALID_ARGUMENT
            raise _Failure(code, f"CSR refused: {refusal.reason}") from None
        return encode_response(chain)

    def _tell(self, failure: _Failure, identity: Identity, peer: str) -> None:
        if failure.code is grpc.StatusCode.UNAVAILABLE:
            self.tally.unavailable += 1
        else:
            self.tally.refused += 1
        _log.warning(
            "certificate refused",
            peer=peer,
            cluster=identity.cluster,
            proved=identity.uri,
            reason=failure.details,
        )


def _caller(identity: Identity, peer: str) -> str:
    return f"{identity.cluster} {identity.uri} {identity.pod or host_of(peer)}"
