"""Who a workload is to the mesh: a trust domain, a namespace and a service account, as SPIFFE spells them."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from isthmus.model.service import ClusterId

_SPIFFE = re.compile(
    r"spiffe://(?P<domain>[a-z0-9._-]{1,255})/ns/(?P<namespace>[a-z0-9-]{1,63})/sa/(?P<account>[a-z0-9.-]{1,253})"
)
_UNSAID = ClusterId("")


@dataclass(frozen=True, slots=True)
class Identity:
    """A proved identity, and how far the proof went.

    `cluster` is the cluster that vouched for it and `pod` the pod that its token is bound to; either is ""
    where the proof does not say, as a certificate does not. `expires` is when the proof ends, Unix seconds.
    """

    trust_domain: str
    namespace: str
    service_account: str
    cluster: ClusterId = _UNSAID
    pod: str = ""
    expires: float = field(default=float("inf"), compare=False)

    @property
    def uri(self) -> str:
        """Its SPIFFE ID as Istio spells it: `spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT`."""
        return spiffe_id(self.trust_domain, self.namespace, self.service_account)

    def __str__(self) -> str:
        return self.uri


@dataclass(frozen=True, slots=True)
class TrustDomain:
    """The mesh's trust domain, and others that mean the same mesh (MeshConfig `trustDomainAliases`)."""

    name: str
    aliases: Collection[str] = ()

    def uris(self, identity: Identity) -> frozenset[str]:
        """Every SPIFFE ID that means this workload."""
        return frozenset(
            spiffe_id(domain, identity.namespace, identity.service_account)
            for domain in (self.name, *self.aliases)
        )

    def read(self, uri: str) -> Identity | None:
        """The identity that a SPIFFE ID names, by the trust domain's own name; None where it is not ours."""
        found = _SPIFFE.fullmatch(uri)
        if found is None or found["domain"] not in (self.name, *self.aliases):
            return None
        return Identity(self.name, found["namespace"], found["account"])


def spiffe_id(trust_domain: str, namespace: str, service_account: str) -> str:
    """`spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT` (Istio: secure naming)."""
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"
