"""Who is who in the mesh, as pilot wires it: the CA, who is believed, the trusted roots in every namespace.

It begins before the clusters have settled, so that nobody waits for roots longer than needed.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from isthmus.ca.admission import Admission, admitting
from isthmus.ca.authentication import Authenticator
from isthmus.ca.authority import CertificateAuthority, Rules, running_authority
from isthmus.ca.everywhere import Distributions, distributing_everywhere
from isthmus.ca.metrics import CaMetrics
from isthmus.ca.readers import Readers
from isthmus.ca.service import CertificateService
from isthmus.ca.signer import Lifetimes
from isthmus.ca.tenure import Tenures, holding
from isthmus.clusters.health import State
from isthmus.clusters.registry import Clusters
from isthmus.config.mesh import MeshConfig
from isthmus.kube.access import Access
from isthmus.kube.client import running_client
from isthmus.model.identity import TrustDomain
from isthmus.model.service import ClusterId


@dataclass(frozen=True, slots=True)
class MeshIdentity:
    """The parts, as other parts of pilot use them."""

    home: ClusterId
    namespace: str
    lifetimes: Lifetimes
    authority: CertificateAuthority
    authenticator: Authenticator
    admission: Admission
    tenures: Tenures
    service: CertificateService
    distributions: Distributions
    readers: Readers

    @property
    def metrics(self) -> CaMetrics:
        """For the registry of metrics."""
        return CaMetrics(self.service, self.authenticator, self.authority, self.tenures)

    def troubles(self) -> Mapping[ClusterId, Sequence[str]]:
        """What an operator must know, by cluster: rights that are missing, and at home a bad CA Secret."""
        found: dict[ClusterId, list[str]] = {}
        for about in filter(None, (self.authority.refusal, self.authority.unheeded)):
            found.setdefault(self.home, []).append(f"the CA: {about}")
        if self.authority.waiting:
            found.setdefault(self.home, []).append(f"the CA: {self.authority.waiting}")
        for named in (self.distributions.missing(), self.authenticator.troubles):
            for cluster, trouble in named.items():
                found.setdefault(cluster, []).append(trouble)
        return found


@asynccontextmanager
async def running_identity(
    access: Access, clusters: Clusters, mesh: MeshConfig, *, home: ClusterId, namespace: str
) -> AsyncGenerator[MeshIdentity]:
    """Everything but the listeners; the CA may still be to come."""
    domain = TrustDomain(mesh.trust_domain, mesh.trust_domain_aliases)
    rules = _rules(mesh)
    async with (
        running_client(access) as client,
        running_authority(client, namespace, rules) as authority,
        distributing_everywhere(clusters.clients, authority) as distributions,
    ):
        authority.lacking = partial(_lacking, clusters, distributions)
        with (
            admitting(clusters.view, clusters.clients) as admission,
            holding(clusters.view, clusters.clients) as tenures,
        ):
            yield MeshIdentity(
                home,
                namespace,
                rules.lifetimes,
                authority,
                Authenticator(domain, clusters.clients, home=home, cluster_of=admission.cluster_of),
                admission,
                tenures,
                CertificateService(authority, domain, rules.lifetimes),
                distributions,
                Readers(clusters.clients, home=home, namespace=namespace),
            )


def _lacking(clusters: Clusters, distributions: Distributions) -> Sequence[str]:
    """The clusters of the mesh, answering or not, that have not got the trusted roots of now."""
    if not clusters.listed:
        return ["clusters that are not known yet"]
    return distributions.lacking(one.name for one in clusters.status() if one.state is not State.REFUSED)


def _rules(mesh: MeshConfig) -> Rules:
    wanted = mesh.isthmus.certificates
    return Rules(
        trust_domain=mesh.trust_domain,
        lifetimes=Lifetimes(wanted.lifetime, wanted.longest_lifetime, wanted.clock_skew),
        root_life=wanted.root_lifetime,
        introduce=wanted.root_introduction,
    )
