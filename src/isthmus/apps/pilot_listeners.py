"""The listeners for proxies: over TLS for those that prove who they are, and in plain text."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from isthmus.apps.callers import certifying, judging, placed, placing, proving
from isthmus.apps.pilot_identity import MeshIdentity
from isthmus.ca.messages import METHOD
from isthmus.ca.serving import ServingCertificate
from isthmus.lib.address import HostPort
from isthmus.lib.errors import UserError
from isthmus.xds.ads import Ads
from isthmus.xds.grpc_faults import Faults
from isthmus.xds.grpc_server import serving_grpc
from isthmus.xds.grpc_unary import answering
from isthmus.xds.inspection import Inspect


@asynccontextmanager
async def serving_proved(
    identity: MeshIdentity, ads: Ads, addresses: Sequence[HostPort], faults: Faults, inspect: Inspect
) -> AsyncGenerator[Sequence[int]]:
    """xDS and certificates over TLS, for callers that prove who they are, on every address; yields the ports.
    `inspect` answers what is asked about the mesh.

    There must be a CA. Raises UserError for an address that cannot be bound.
    """
    shown = ServingCertificate(identity.authority, server_names(identity.namespace), identity.lifetimes)
    context = shown.server_context()
    async with AsyncExitStack() as stack:
        certificates = await stack.enter_async_context(answering(certifying(identity.service)))
        handlers = {
            **ads.judging_handlers(judging(identity.admission), identity.tenures.begin, inspect),
            METHOD: certificates,
        }
        authenticate = proving(identity.authenticator)
        ports: list[int] = []
        for address in addresses:
            server = serving_grpc(
                str(address), handlers, ssl_context=context, authenticate=authenticate, faults=faults
            )
            try:
                ports.append(await stack.enter_async_context(server))
            except OSError as error:
                raise UserError(
                    f"Cannot listen for xDS over TLS on {address}: {error}. Choose another --xds-tls-address."
                ) from None
        yield ports


@asynccontextmanager
async def serving_plain(
    address: HostPort, identity: MeshIdentity, ads: Ads, faults: Faults
) -> AsyncGenerator[int]:
    """xDS in plain text for whoever comes, at its word; yields the port. Raises UserError as above."""
    handlers = ads.judging_handlers(placing(identity.admission), unjudged=placed)
    async with AsyncExitStack() as stack:
        try:
            port = await stack.enter_async_context(serving_grpc(str(address), handlers, faults=faults))
        except OSError as error:
            raise UserError(
                f"Cannot listen for xDS on {address}: {error}. Choose another --xds-address."
            ) from None
        yield port


def server_names(namespace: str) -> Sequence[str]:
    """The DNS names by which sidecars know the control plane; `istiod` is for Istio's own agents."""
    pilot = f"istio-pilot.{namespace}"
    return (f"{pilot}.svc", f"{pilot}.svc.cluster.local", pilot, f"istiod.{namespace}.svc")
