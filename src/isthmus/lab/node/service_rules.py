"""The service proxy's rules as text: from Services and endpoints to input for `iptables-restore --noflush`.
Pure.

As kube-proxy's: a dispatch chain leads from ClusterIP and port to the service port's chain, which draws one
of its endpoints' chains, which translates the destination. Only chains that differ are written, so a changed
endpoint costs its own service's rules. Source addresses stay, except where a pod reaches itself through a
Service. Session affinity, node ports, load balancers and SCTP are not served.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from isthmus.lab.node.endpoints import ServiceName, Services, is_ipv4, usable

_DISPATCH, _REJECT, _HAIRPIN = "ISTHMUS-SERVICES", "ISTHMUS-REJECT", "ISTHMUS-HAIRPIN"
_MARK = "0x4000/0x4000"
BASE = f"""*nat
:{_DISPATCH} - [0:0]
:{_HAIRPIN} - [0:0]
-A PREROUTING -j {_DISPATCH}
-A OUTPUT -j {_DISPATCH}
-A POSTROUTING -m mark --mark {_MARK} -j MASQUERADE
-A {_HAIRPIN} -j MARK --set-xmark {_MARK}
COMMIT
*filter
:{_REJECT} - [0:0]
-A FORWARD -j {_REJECT}
-A OUTPUT -j {_REJECT}
COMMIT
"""
"""What leads into our chains. It replaces all other rules of the node's namespace."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """One way into a Service: a ClusterIP, a protocol ("tcp", "udp") and a port, and who answers there."""

    address: str
    protocol: str
    port: int
    endpoints: tuple[tuple[str, int], ...]

    @property
    def chain(self) -> str:
        """The name of its chain: at most 28 characters, as iptables wants."""
        return _chain("SVC", f"{self.address}/{self.protocol}/{self.port}")

    @property
    def match(self) -> str:
        """What of a packet leads here."""
        return f"-d {self.address}/32 -p {self.protocol} -m {self.protocol} --dport {self.port}"


def targets_of(services: Services, name: ServiceName) -> Iterator[Target]:
    """The targets of one Service as it is now; none where it has no ClusterIP or is gone."""
    service = services.services.get(name)
    if service is None or not is_ipv4(service.spec.cluster_ip) or service.spec.type == "ExternalName":
        return
    for port in (port for port in service.spec.ports if port.protocol in ("TCP", "UDP")):
        endpoints = [
            (endpoint, mapped.port)
            for slice_ in services.slices_of(name)
            for mapped in slice_.ports
            if (mapped.name, mapped.protocol) == (port.name, port.protocol) and mapped.port
            for endpoint in slice_.endpoints
        ]
        protocol, address = port.protocol.lower(), service.spec.cluster_ip
        yield Target(address, protocol, port.port, tuple(sorted(usable(endpoints))))


def changed_rules(old: Mapping[str, Target], new: Mapping[str, Target]) -> str:
    """Input for `iptables-restore --noflush` that leads from the old targets to the new, both by chain.

    "" where there is nothing to do.
    """
    if old == new:
        return ""
    lines = ["*nat"]
    for target in sorted(target for chain, target in new.items() if old.get(chain) != target):
        lines += _service_chain(target)
    served, refused = _matches(new.values())
    served_before, refused_before = _matches(old.values())
    if served != served_before:
        lines.append(f":{_DISPATCH} - [0:0]")
        lines += [f"-A {_DISPATCH} {match} -j {chain}" for match, chain in sorted(served.items())]
    lines += _removals(old.values(), new.values())
    lines.append("COMMIT")
    if refused.keys() != refused_before.keys():
        lines += ["*filter", f":{_REJECT} - [0:0]"]
        lines += [
            f"-A {_REJECT} {match} -j REJECT --reject-with icmp-port-unreachable" for match in sorted(refused)
        ]
        lines.append("COMMIT")
    return "\n".join(lines) + "\n"


def _matches(targets: Iterable[Target]) -> tuple[dict[str, str], dict[str, str]]:
    """Matches and their chains: of targets with endpoints, and of those without."""
    known = list(targets)
    served = {target.match: target.chain for target in known if target.endpoints}
    return served, {target.match: target.chain for target in known if not target.endpoints}


def _service_chain(target: Target) -> Iterator[str]:
    yield f":{target.chain} - [0:0]"
    count = len(target.endpoints)
    for position, (address, port) in enumerate(target.endpoints):
        chain = _endpoint_chain(target, address, port)
        yield f":{chain} - [0:0]"
        yield f"-A {chain} -s {address}/32 -j {_HAIRPIN}"
        yield (
            f"-A {chain} -p {target.protocol} -m {target.protocol} -j DNAT --to-destination {address}:{port}"
        )
        remaining = count - position
        draw = f" -m statistic --mode random --probability {1 / remaining:.10f}" if remaining > 1 else ""
        yield f"-A {target.chain}{draw} -j {chain}"


def _removals(old: Iterable[Target], new: Iterable[Target]) -> list[str]:
    """Emptied first, all of them, then deleted: a chain that is jumped to cannot go."""
    chains = _chains(old) - _chains(new)
    return [f":{chain} - [0:0]" for chain in sorted(chains)] + [f"-X {chain}" for chain in sorted(chains)]


def _chains(targets: Iterable[Target]) -> set[str]:
    found: set[str] = set()
    for target in targets:
        found.add(target.chain)
        found.update(_endpoint_chain(target, address, port) for address, port in target.endpoints)
    return found


def _endpoint_chain(target: Target, address: str, port: int) -> str:
    return _chain("SEP", f"{target.address}/{target.protocol}/{target.port}/{address}:{port}")


def _chain(kind: str, identity: str) -> str:
    return f"ISTHMUS-{kind}-{hashlib.sha256(identity.encode()).hexdigest()[:16].upper()}"
