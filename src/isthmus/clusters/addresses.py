"""Which addresses may be endpoints. Refuses what would make a proxy talk to itself or to its own node."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from sys import intern


def endpoint_address(text: str, family: str = "") -> str:
    """The canonical, interned form of an endpoint's address; `family` is "IPv4", "IPv6" or "" for either.

    Raises ValueError saying in a clause what is wrong. Kubernetes: EndpointAddress "may not be loopback,
    link-local, or link-local multicast"; nothing but an API server that lies offers one.
    """
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"{text[:64]!r} is not an IP address") from None
    if family and family != f"IPv{address.version}":
        raise ValueError(f"{text[:64]!r} is not an {family} address")
    kind = _unusable(address)
    if kind:
        raise ValueError(f"{text[:64]} is {kind} and cannot be an endpoint")
    return intern(str(address))


def _unusable(address: IPv4Address | IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if mapped is not None:
        return _unusable(mapped)
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    if address.is_unspecified:
        return "the unspecified address"
    return ""
