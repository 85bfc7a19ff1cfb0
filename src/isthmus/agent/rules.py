"""The iptables rules of a pod with a sidecar, as text. Pure: nothing is read, nothing is run.

The chains and the order of rules are Istio's (tools/istio-iptables), so that an operator finds what the
documentation shows. Only TCP is redirected.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from isthmus.config.redirection import Everything, Ports, Range, Ranges, Redirection

OUTBOUND_PORT = 15001
INBOUND_PORT = 15006
TUNNEL_PORT = 15008
PROXY_ID = 1337
"""User and group of istio-proxy: what it sends is never redirected to itself."""
NEVER_INBOUND = (15090, 15021, 15020)
"""Prometheus, readiness and the agent: served beside the mesh, never through it."""
CHAINS = ("ISTIO_INBOUND", "ISTIO_REDIRECT", "ISTIO_IN_REDIRECT", "ISTIO_OUTPUT")


@dataclass(frozen=True, slots=True)
class Family:
    """What differs between IPv4 and IPv6. `passthrough` is Envoy's source address towards the application."""

    version: int
    loopback: str
    passthrough: str


IPV4 = Family(4, "127.0.0.1/32", "127.0.0.6/32")
IPV6 = Family(6, "::1/128", "::6/128")


def derive_rules(redirection: Redirection, family: Family) -> list[str]:
    """The rules of the nat table, each as iptables-restore reads it, in order."""
    return [
        f"-A ISTIO_INBOUND -p tcp --dport {TUNNEL_PORT} -j RETURN",
        f"-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports {OUTBOUND_PORT}",
        f"-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports {INBOUND_PORT}",
        *_inbound(redirection.include_inbound_ports, redirection.exclude_inbound_ports),
        "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
        *(f"-A ISTIO_OUTPUT -p tcp --dport {port} -j RETURN" for port in redirection.exclude_outbound_ports),
        f"-A ISTIO_OUTPUT -s {family.passthrough} -o lo -j RETURN",
        *_own_traffic("uid", family),
        *_own_traffic("gid", family),
        f"-A ISTIO_OUTPUT -d {family.loopback} -j RETURN",
        *_outbound(redirection, family),
    ]


def derive_restore(rules: Iterable[str], saved: str) -> str:
    """Input for `iptables-restore --noflush` that makes `rules` the only Istio rules of the nat table.

    `saved` is what `iptables-save -t nat` says now. Naming a chain there empties it, and earlier jumps to our
    chains are deleted in the same transaction, so that doing it again changes nothing.
    """
    return _transaction([*(f":{chain} - [0:0]" for chain in CHAINS), *_undo_jumps(saved), *rules])


def derive_removal(saved: str) -> str:
    """Input for `iptables-restore --noflush` that takes all Istio chains out of the nat table."""
    ours = [line.split()[0][1:] for line in saved.splitlines() if line.startswith(":ISTIO_")]
    return _transaction(
        [*(f":{chain} - [0:0]" for chain in ours), *_undo_jumps(saved), *(f"-X {chain}" for chain in ours)]
    )


def _transaction(lines: Iterable[str]) -> str:
    return "\n".join(["*nat", *lines, "COMMIT", ""])


def _undo_jumps(saved: str) -> Iterator[str]:
    for line in saved.splitlines():
        if line.startswith("-A ") and not line.startswith("-A ISTIO_") and " -j ISTIO_" in line:
            yield "-D" + line.removeprefix("-A")


def _inbound(include: Ports | Everything, exclude: Ports) -> Iterator[str]:
    if not include:
        return
    yield "-A PREROUTING -p tcp -j ISTIO_INBOUND"
    if include == "*":
        for port in dict.fromkeys((*NEVER_INBOUND, *exclude)):
            yield f"-A ISTIO_INBOUND -p tcp --dport {port} -j RETURN"
        yield "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT"
        return
    for port in include:
        yield f"-A ISTIO_INBOUND -p tcp --dport {port} -j ISTIO_IN_REDIRECT"


def _own_traffic(owner: str, family: Family) -> Iterator[str]:
    """Envoy calling its own pod's address (it chose itself behind a service) must arrive as inbound."""
    envoy = f"-m owner --{owner}-owner {PROXY_ID}"
    to_itself = f"! -d {family.loopback} -o lo -p tcp ! --dport {TUNNEL_PORT}"
    yield f"-A ISTIO_OUTPUT {to_itself} {envoy} -j ISTIO_IN_REDIRECT"
    yield f"-A ISTIO_OUTPUT -o lo -m owner ! --{owner}-owner {PROXY_ID} -j RETURN"
    yield f"-A ISTIO_OUTPUT {envoy} -j RETURN"


def _outbound(redirection: Redirection, family: Family) -> Iterator[str]:
    for span in _of(family, redirection.exclude_outbound_ranges):
        yield f"-A ISTIO_OUTPUT -d {span} -j RETURN"
    for port in redirection.include_outbound_ports:
        yield f"-A ISTIO_OUTPUT -p tcp --dport {port} -j ISTIO_REDIRECT"
    if redirection.include_outbound_ranges == "*":
        yield "-A ISTIO_OUTPUT -j ISTIO_REDIRECT"
        return
    for span in _of(family, redirection.include_outbound_ranges):
        yield f"-A ISTIO_OUTPUT -d {span} -j ISTIO_REDIRECT"
    yield "-A ISTIO_OUTPUT -j RETURN"


def _of(family: Family, ranges: Ranges) -> Iterator[Range]:
    return (span for span in ranges if span.version == family.version)
