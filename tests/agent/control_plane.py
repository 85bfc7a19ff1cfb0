"""The control plane's secure port as agents meet it: the real CA and the real ADS server, over TLS."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from isthmus.apps.callers import certifying, proving
from isthmus.ca.authentication import Authenticator
from isthmus.ca.messages import METHOD
from isthmus.ca.service import CertificateService
from isthmus.ca.serving import ServingCertificate
from isthmus.ca.signer import Lifetimes, Signer
from isthmus.model.identity import Identity
from isthmus.model.proxy import Proxy
from isthmus.model.service import ClusterId
from isthmus.xds.ads import running_ads
from isthmus.xds.grpc_server import serving_grpc
from isthmus.xds.grpc_unary import answering
from isthmus.xds.hub import Hub
from isthmus.xds.limits import Limits
from tests.ca.clusters import WEST, Clusters, two_clusters
from tests.ca.making import MESH, root_signer
from tests.xds.fakes import FakeProvider, FakeScope

HOST = "localhost"


@dataclass
class ControlPlane:
    """`signer` may be replaced; `admitted` has who opened a stream, by its certificate or token."""

    port: int
    clusters: Clusters
    signer: Signer | None
    service: CertificateService | None
    admitted: list[tuple[Proxy, Identity]]


@asynccontextmanager
async def serving_control_plane(life: timedelta = timedelta(hours=24)) -> AsyncGenerator[ControlPlane]:
    """CA and an empty mesh, on one port of loopback, for the service accounts of two clusters."""
    async with two_clusters() as clusters:
        it = ControlPlane(0, clusters, root_signer(datetime.now(UTC)), None, [])
        lifetimes = Lifetimes(default=life, skew=timedelta(0))
        it.service = CertificateService(it, MESH, lifetimes)

        async def admit(claimed: Proxy, identity: Identity | None) -> Proxy:
            assert identity is not None
            it.admitted.append((claimed, identity))
            return claimed

        async def cluster_of(namespace: str, pod: str, address: str) -> ClusterId:
            return WEST

        judge = Authenticator(MESH, clusters.clients, home=WEST, cluster_of=cluster_of)
        async with (
            running_ads(Hub(FakeProvider(FakeScope("nothing")))) as ads,
            answering(certifying(it.service)) as certify,
            serving_grpc(
                "127.0.0.1:0",
                {METHOD: certify, **ads.judging_handlers(admit)},
                Limits(drain=0),
                ssl_context=ServingCertificate(it, [HOST], Lifetimes()).server_context(),
                authenticate=proving(judge),
            ) as port,
        ):
            it.port = port
            yield it
