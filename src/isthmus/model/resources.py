"""xDS resources as translation makes them and the transport carries them."""

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

_PREFIX = "type.googleapis.com/"
CLUSTER = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTE = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
NAME_TABLE = _PREFIX + "istio.networking.nds.v1.NameTable"
"""For Istio's agent, which answers DNS by it; Envoy never sees it."""

PUSH_ORDER = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
"""Make before break (xDS protocol, "Eventual consistency considerations")."""


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One resource, serialised once and shared by every stream. Equality is identity.

    `body` is the deterministic serialisation of the message named by `type_url`; `version` is a digest of it,
    so that equal content has an equal version in every replica and after a restart.
    """

    type_url: str
    name: str
    version: str
    body: bytes


class Scope(Protocol):
    """Resources that a set of proxies sees alike, made on demand and remembered until they change.

    A proxy is served the union of a few scopes; no two of its scopes hold the same type and name.
    """

    @property
    def key(self) -> Hashable:
        """What its resources depend on: proxies with equal keys share the scope."""
        ...

    @property
    def types(self) -> Collection[str]:
        """Types of which it may have resources, now or later."""
        ...

    @property
    def prepared(self) -> bool:
        """Whether reading it costs little: it was derived before, or is small."""
        ...

    def preparing(self) -> Iterator[None]:
        """Derive everything, a little at each step, so that others have their turn in between. What is read
        before that is done is derived at once, and so is everything should this fail.
        """
        ...

    def get(self, type_url: str, name: str) -> Resource | None:
        """The named resource, or None where it does not exist (now)."""
        ...

    def all(self, type_url: str) -> Sequence[Resource]:
        """Every resource of that type, sorted by name. The same sequence object until something changes."""
        ...


@dataclass(frozen=True, slots=True)
class ScopeChange:
    """Names within one scope whose resource is to be read anew: changed, new or gone.

    Several types may change at once: the transport orders them by `PUSH_ORDER` per stream.
    """

    scope: Scope
    names: "dict[str, frozenset[str]]"
    """type URL → names."""
