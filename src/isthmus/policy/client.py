"""Who sent a request: by its certificate, and by what the control plane knows of its address. Pure.

A certificate proves a namespace and a service account. The workload at the connection's address is believed
only where it has both of these. An address that pods of two clusters claim proves nothing, whoever they are;
one that two such pods of one cluster claim proves neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from isthmus.model.identity import Identity, TrustDomain


@dataclass(frozen=True, slots=True)
class KnownWorkload:
    """A pod as the control plane knows it. `workload` is its owner's name."""

    cluster: str
    namespace: str
    account: str
    workload: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


class Workloads(Protocol):
    """Which pods have an address, over all clusters: addresses may be used in several networks at once."""

    def at(self, address: str) -> Sequence[KnownWorkload]:
        """Every pod with that address; answered at once, from memory."""
        ...


@dataclass(frozen=True, slots=True)
class Client:
    """What is proved of a request's sender. `identity` None: nothing."""

    identity: Identity | None = None
    workload: KnownWorkload | None = None


NOBODY = Client()
_MOST_NAMES = 10_000


class Clients:
    """Tells who clients are; what it reads of certificates' names it remembers."""

    def __init__(self, trust_domain: TrustDomain, workloads: Workloads) -> None:
        self._read = lru_cache(_MOST_NAMES)(trust_domain.read)
        self._workloads = workloads

    def identify(self, uri: str, address: str) -> Client:
        """Who sent a request from `address` whose client certificate names `uri` ("" without one)."""
        identity = self._read(uri) if uri else None
        if identity is None:
            return NOBODY
        proved = identity.namespace, identity.service_account
        there = self._workloads.at(address)
        candidates = [one for one in there if (one.namespace, one.account) == proved]
        sure = len(candidates) == 1 and all(one.cluster == candidates[0].cluster for one in there)
        return Client(identity, candidates[0] if sure else None)
