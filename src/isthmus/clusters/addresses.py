"""Which addresses may be endpoints. Refuses what would make a proxy talk to itself or to its own node."""

from ipaddress import IPv6Address
from socket import AF_INET, inet_pton
from sys import intern


def endpoint_address(text: str, family: str = "") -> str:
    """The canonical, interned form of an endpoint's address; `family` is "IPv4", "IPv6" or "" for either.

    Raises ValueError saying in a clause what is wrong. Kubernetes: EndpointAddress "may not be loopback,
    link-local, or link-local multicast"; nothing but an API server that lies offers one.
    """
    version, canonical, flaw = _read(text)
    if family not in ("", version):
        raise ValueError(f"{text[:64]!r} is not an {family} address")
    if flaw:
        raise ValueError(f"{text[:64]} is {flaw} and cannot be an endpoint")
    return intern(canonical)


def _read(text: str) -> tuple[str, str, str]:
    """Family, canonical form, and what makes it useless."""
    # Every address of every slice event comes through here; `ipaddress` would take twenty times as long.
    try:
        return "IPv4", text, _ipv4_flaw(inet_pton(AF_INET, text))
    except (OSError, ValueError):
        pass
    try:
        address = IPv6Address(text)
    except ValueError:
        raise ValueError(f"{text[:64]!r} is not an IP address") from None
    if address.scope_id is not None:
        raise ValueError(f"{text[:64]!r} names an interface, which means something else on each node")
    mapped = address.ipv4_mapped
    return "IPv6", str(address), _ipv6_flaw(address) if mapped is None else _ipv4_flaw(mapped.packed)


def _ipv4_flaw(packed: bytes) -> str:
    match packed[0], packed[1]:
        case 127, _:
            return "a loopback address"
        case 169, 254:
            return "a link-local address"
        case first, _ if 224 <= first < 240:
            return "a multicast address"
        case _:
            return "" if any(packed) else "the unspecified address"


def _ipv6_flaw(address: IPv6Address) -> str:
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    return "the unspecified address" if address.is_unspecified else ""
