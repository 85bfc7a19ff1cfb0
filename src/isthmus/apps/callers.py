"""Between the CA's words and its servers': who calls, as whom a proxy is served, what a caller may have."""

from dataclasses import replace

from isthmus.ca.admission import Admission
from isthmus.ca.authentication import Authenticator, credentials_of
from isthmus.ca.errors import (
    CertificateFailed,
    NotAdmitted,
    PodUnknown,
    ProofUnavailable,
    Unauthenticated,
)
from isthmus.ca.readers import Readers
from isthmus.ca.service import CertificateService
from isthmus.dashboard.guard import Denied, MayRead
from isthmus.lib.turns import Turns
from isthmus.model.identity import Identity
from isthmus.model.proxy import Proxy
from isthmus.xds.ads import Admit
from isthmus.xds.grpc_request import Request
from isthmus.xds.grpc_server import Authenticate
from isthmus.xds.grpc_status import CallFailed, Status
from isthmus.xds.grpc_unary import Answer
from isthmus.xds.h2_call import Call


def proving(authenticator: Authenticator) -> Authenticate:
    """Whoever calls must prove who it is."""

    async def authenticate(request: Request) -> Identity:
        credentials = credentials_of(request.headers, request.certificate, request.peer)
        try:
            return await authenticator.authenticate(credentials)
        except Unauthenticated as refusal:
            raise CallFailed(Status.UNAUTHENTICATED, refusal.reason) from None
        except ProofUnavailable as failure:
            raise CallFailed(Status.UNAVAILABLE, failure.reason) from None

    return authenticate


def judging(admission: Admission) -> Admit:
    """A proxy is served as the Pod that it proved to be."""

    async def admit(claimed: Proxy, identity: Identity | None) -> Proxy:
        if identity is None:
            raise CallFailed(Status.UNAUTHENTICATED, "nothing was proved")
        try:
            return await admission.admit(claimed, identity)
        except NotAdmitted as refusal:
            raise CallFailed(Status.PERMISSION_DENIED, refusal.reason) from None
        except PodUnknown as unknown:
            raise CallFailed(Status.UNAVAILABLE, unknown.reason) from None

    return admit


def placing(admission: Admission) -> Admit:
    """For those who prove nothing and name no cluster, as by the guide's `istio-remote`: theirs is the one
    that shows their Pod; where none does in time, the control plane's own.
    """

    async def admit(claimed: Proxy, identity: Identity | None) -> Proxy:
        cluster = await admission.cluster_of(claimed.namespace, claimed.pod, claimed.address)
        return claimed if cluster is None else replace(claimed, cluster=cluster)

    return admit


def placed(claimed: Proxy) -> bool:
    """Whether a proxy says which cluster it is of; one that is no Pod is not looked for."""
    return bool(claimed.cluster) or not claimed.pod


def certifying(service: CertificateService) -> Answer:
    """A caller gets a certificate for who it proved to be.

    Signing holds the event loop, by an operator's RSA key for some milliseconds: so one is signed in a turn
    of it, however many ask at once, and between two everybody else is served.
    """
    turns = Turns()

    async def answer(message: bytes, call: Call) -> bytes:
        if call.identity is None:
            raise CallFailed(Status.UNAUTHENTICATED, "nothing was proved")
        try:
            await turns.next()
            return service.create_certificate(message, call.identity, call.peer)
        except CertificateFailed as failure:
            raise CallFailed(_status(failure), failure.reason) from None

    return answer


def reading(readers: Readers) -> MayRead:
    """A debug page is for those whom the control plane's own cluster lets read it."""

    async def may_read(token: str, path: str, host: str) -> Denied | None:
        try:
            await readers.check(token, path, host)
        except Unauthenticated as refusal:
            return Denied(401, refusal.reason)
        except NotAdmitted as refusal:
            return Denied(403, refusal.reason)
        except ProofUnavailable as failure:
            return Denied(503, failure.reason)
        return None

    return may_read


def _status(failure: CertificateFailed) -> Status:
    number, _ = failure.code.value
    return Status(number)
