"""Where a cluster's pod and service CIDRs stand written: objects in, ranges out. Pure.

What was given counts alone; else kubeadm's configuration, then what nodes and ServiceCIDRs say, then the
range that an API server names as it refuses a Service's address.
"""

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network
from typing import Any, cast

from isthmus.lib.errors import UserError
from isthmus.lib.yaml_text import NotYaml, read_yaml
from isthmus.operate.preflight.facts import Address, Network, Range

_VALID_RANGE = re.compile(r"range of valid IPs is (\S+?)\.?(\s|$)")


def given_ranges(texts: Iterable[str], option: str, clusters: Iterable[str]) -> dict[str, tuple[Range, ...]]:
    """Options `CLUSTER=CIDR[,CIDR…]` by cluster. Raises UserError (usage)."""
    known = list(clusters)
    found: dict[str, tuple[Range, ...]] = {}
    for text in texts:
        name, equals, cidrs = text.partition("=")
        if not equals or name not in known:
            raise UserError(
                f"{option} is {text!r}; write CLUSTER=CIDR, with a cluster of {', '.join(known)}.",
                exit_code=2,
            )
        try:
            ranges = [Range(ip_network(one.strip()), "given") for one in cidrs.split(",")]
        except ValueError as error:
            raise UserError(
                f"{option} {text}: {error}; write a CIDR such as 10.1.0.0/16.", exit_code=2
            ) from None
        found[name] = (*found.get(name, ()), *ranges)
    return found


def kubeadm_ranges(config_map: Mapping[str, str]) -> tuple[tuple[Range, ...], tuple[Range, ...]]:
    """Pod and service ranges of kubeadm's ClusterConfiguration (ConfigMap kube-system/kubeadm-config)."""
    try:
        whole: object = read_yaml(config_map.get("ClusterConfiguration", ""))
    except NotYaml:
        return (), ()
    networking: object = cast("dict[str, Any]", whole).get("networking") if isinstance(whole, dict) else None
    if not isinstance(networking, dict):
        return (), ()
    fields = cast("dict[str, Any]", networking)
    return (
        read_ranges(str(fields.get("podSubnet") or "").split(","), "kubeadm-config"),
        read_ranges(str(fields.get("serviceSubnet") or "").split(","), "kubeadm-config"),
    )


def node_ranges(nodes: Iterable[Mapping[str, Any]]) -> tuple[Range, ...]:
    """The nodes' podCIDRs, put together where they are neighbours."""
    texts: list[str] = []
    for node in nodes:
        spec: Mapping[str, Any] = node.get("spec") or {}
        texts += spec.get("podCIDRs") or [spec.get("podCIDR") or ""]
    return _collapsed(read_ranges(texts, "nodes"), "nodes")


def service_cidr_ranges(objects: Iterable[Mapping[str, Any]]) -> tuple[Range, ...]:
    """The ranges of networking.k8s.io/v1 ServiceCIDRs (Kubernetes 1.33)."""
    return read_ranges((one for each in objects for one in each["spec"].get("cidrs") or ()), "ServiceCIDR")


def refused_range(message: str) -> tuple[Range, ...]:
    """The range in "… The range of valid IPs is 10.96.0.0/12"."""
    found = _VALID_RANGE.search(message)
    return read_ranges([found[1]], "API server") if found else ()


def read_ranges(texts: Iterable[str], source: str) -> tuple[Range, ...]:
    """Those of the texts that are CIDRs, each once."""
    networks: dict[Network, None] = {}
    for text in texts:
        try:
            networks[ip_network(text.strip(), strict=False)] = None
        except ValueError:
            continue
    return tuple(Range(one, source) for one in networks)


def read_addresses(texts: Iterable[str]) -> frozenset[Address]:
    """Those of the texts that are addresses."""
    found: set[Address] = set()
    for text in texts:
        try:
            found.add(ip_address(text))
        except ValueError:
            continue
    return frozenset(found)


def _collapsed(ranges: Iterable[Range], source: str) -> tuple[Range, ...]:
    networks = [one.network for one in ranges]
    fours = collapse_addresses(one for one in networks if isinstance(one, IPv4Network))
    sixes = collapse_addresses(one for one in networks if isinstance(one, IPv6Network))
    return tuple(Range(one, source) for one in (*fours, *sixes))
