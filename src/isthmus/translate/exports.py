"""Which services a namespace's proxies see (Istio: `exportTo`), and claims on names parted by that.

What is for everybody is kept and derived once, as if nothing else were there. What is not is restricted: it
is seen from the namespaces that it is exported to, and costs something there alone.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from isthmus.model.exports import ALL, EVERYBODY, NOBODY, Audience, ExportTo, audience
from isthmus.model.service import Service, ServiceKey
from isthmus.translate.claims import Claims

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


class Exports:
    """Who sees which service; one that was never noted, nobody. `default` is for those that do not say;
    `always` is seen by all whatever it says.
    """

    def __init__(self, default: ExportTo, always: ServiceKey) -> None:
        self.turned: set[str] = set()
        """Namespaces that began to see restricted services, or ceased to; whoever reads it empties it."""
        self._default = default or (ALL,)
        self._always = always
        self._audiences: dict[ServiceKey, Audience] = {}
        self._restricted: dict[str, set[ServiceKey]] = {}

    def note(self, key: ServiceKey, service: Service | None) -> Audience:
        """Take what a service says now, None for one that is gone; whom that concerns: those who saw it
        before, and those who see it now.
        """
        before, after = self._audiences.pop(key, NOBODY), NOBODY
        if service is not None:
            declared = ALL if key == self._always else service.export_to or self._default
            after = self._audiences[key] = audience(key.namespace, declared)
        for namespace in (before - after) - EVERYBODY:
            services = self._restricted[namespace]
            services.discard(key)
            if not services:
                del self._restricted[namespace]
                self.turned.add(namespace)
        for namespace in (after - before) - EVERYBODY:
            if namespace not in self._restricted:
                self._restricted[namespace] = set()
                self.turned.add(namespace)
            self._restricted[namespace].add(key)
        return before | after

    def audience(self, key: ServiceKey) -> Audience:
        """Who sees that service."""
        return self._audiences.get(key, NOBODY)

    def sees(self, namespace: str, key: ServiceKey) -> bool:
        """Whether that namespace's proxies see it."""
        found = self.audience(key)
        return found == EVERYBODY or namespace in found

    def restricted_to(self, namespace: str) -> Collection[ServiceKey]:
        """The services that this namespace sees and not everybody, in no order."""
        return self._restricted.get(namespace, ())


class Reading(Protocol[S_co]):
    """Claims as a resource is made of them."""

    def names(self) -> Collection[str]:
        """Every name that some service claims."""
        ...

    def on(self, name: str) -> Mapping[ServiceKey, S_co]:
        """The claims on a name; none where nobody wants it."""
        ...

    def winner(self, name: str) -> S_co | None:
        """The claim in force where only one can be: that of the first service by namespace and name."""
        ...


class ExportedClaims(Generic[S]):
    """Claims of services, parted into those `for_all` and restricted ones.

    `Exports.note` comes before `replace` where a service's audience changed.
    """

    def __init__(self, exports: Exports) -> None:
        self.exports = exports
        self.for_all: Claims[S] = Claims()
        self.restricted: Claims[S] = Claims()
        self._audiences: dict[ServiceKey, Audience] = {}
        """Of the restricted services, as they were when they last claimed something."""

    def by(self, service: ServiceKey) -> Mapping[str, S]:
        """The claims of a service, by name."""
        return self.for_all.by(service) or self.restricted.by(service)

    def replace(self, service: ServiceKey, claims: Mapping[str, S]) -> frozenset[str]:
        """Put new claims in place of a service's old ones; the names for which they differ, all of them where
        its audience did.
        """
        before, after = self._audiences.pop(service, EVERYBODY), self.exports.audience(service)
        now, other = self.for_all, self.restricted
        if after != EVERYBODY:
            now, other = other, now
            if claims:
                self._audiences[service] = after
        changed = other.replace(service, {}) | now.replace(service, claims)
        return changed if before == after else changed | claims.keys()

    def restricted_to(self, namespace: str) -> "Restricted[S]":
        """The restricted ones that a namespace sees."""
        return Restricted(self, namespace)

    def seen_from(self, namespace: str) -> "Seen[S]":
        """All that a namespace sees."""
        return Seen(self, namespace)


class Restricted(Generic[S]):
    """Restricted claims as one namespace sees them: always those of the moment.

    A name that somebody claims for all is theirs alone, so that no name is in two scopes of a proxy.
    """

    def __init__(self, claims: ExportedClaims[S], namespace: str) -> None:
        self._claims = claims
        self._namespace = namespace

    def names(self) -> Collection[str]:
        """Every name that one of these services claims, and none for all."""
        restricted, for_all = self._claims.restricted, self._claims.for_all
        found = {name for key in self._services() for name in restricted.by(key)}
        return {name for name in found if not for_all.on(name)}

    def on(self, name: str) -> Mapping[ServiceKey, S]:
        """The claims on a name."""
        return {} if self._claims.for_all.on(name) else self.beside(name)

    def winner(self, name: str) -> S | None:
        """See `Reading`."""
        claims = self.on(name)
        return claims[min(claims)] if claims else None

    def beside(self, name: str) -> Mapping[ServiceKey, S]:
        """The same as `on`, but with those on a name that is claimed for all too."""
        claims, seen = self._claims.restricted.on(name), self._services()
        if len(claims) <= len(seen):
            return {key: spec for key, spec in claims.items() if key in seen}
        return {key: claims[key] for key in seen if key in claims}

    def _services(self) -> Collection[ServiceKey]:
        return self._claims.exports.restricted_to(self._namespace)


class Seen(Generic[S]):
    """All claims that one namespace sees."""

    def __init__(self, claims: ExportedClaims[S], namespace: str) -> None:
        self._claims = claims
        self._for_all = claims.for_all
        self._restricted = claims.restricted_to(namespace)

    def names(self) -> Collection[str]:
        """See `Reading`."""
        restricted = self._restricted.names()
        return {*self._for_all.names(), *restricted} if restricted else self._for_all.names()

    def on(self, name: str) -> Mapping[ServiceKey, S]:
        """The claims on a name, those for all alone where there are any."""
        return self._for_all.on(name) or self._restricted.on(name)

    def winner(self, name: str) -> S | None:
        """See `Reading`."""
        return self._for_all.winner(name) or self._restricted.winner(name)

    def ordered(self, name: str) -> Sequence[ServiceKey]:
        """The services of both sorts that claim a name, sorted."""
        services, more = self._for_all.ordered(name), self._restricted.beside(name)
        return sorted((*services, *more)) if more else services

    def of(self, name: str, service: ServiceKey) -> S | None:
        """What that service claims under the name, whoever sees it; None for nothing."""
        return self._claims.by(service).get(name)
