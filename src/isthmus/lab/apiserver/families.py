"""IP families of Services, in a cluster that has IPv4 only: what is asked for, inferred, and refused. Pure.

Source: KEP-563, and k8s.io/kubernetes: `ValidateServiceClusterIPsRelatedFields` of its core validation, and
`initIPFamilyFields` of its Service storage, which comes before all other rules of a Service.
"""

from collections.abc import Iterator
from ipaddress import ip_address

from isthmus.lab.apiserver.errors import Cause, duplicate, invalid_value, unsupported
from isthmus.lab.apiserver.objects import Object, section, strings

_FAMILIES = ("IPv4", "IPv6")
_SINGLE, _REQUIRED = "SingleStack", "RequireDualStack"
_POLICIES = ("PreferDualStack", _REQUIRED, _SINGLE)
_OURS = "IPv4"


def settle_families(service: Object, old: Object | None) -> Iterator[Cause]:
    """Set `clusterIPs`, `ipFamilyPolicy` and `ipFamilies` of a Service that is not ExternalName.

    `old` is what it would replace. Faults are those that forbid to give it an address.
    """
    spec, was = service["spec"], section(old or {}, "spec")
    address = spec.get("clusterIP", "")
    headless = address == "None" and not section(spec, "selector")
    if address and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [address]
    if not spec.get("ipFamilyPolicy"):
        spec["ipFamilyPolicy"] = was.get("ipFamilyPolicy") or (_REQUIRED if headless else _SINGLE)
    faults = list(_validate_addresses(spec)) or [*_validate_policy(spec, was), *_inferred(spec)]
    if not faults and headless:  # its endpoints are somebody else's, and may be of both families
        _complete_headless(spec)
    elif not faults:
        faults = list(_validate_configured(spec))
        spec["ipFamilies"] = strings(spec, "ipFamilies") or [_OURS]
    yield from faults


def _validate_addresses(spec: Object) -> Iterator[Cause]:
    addresses, families = strings(spec, "clusterIPs"), strings(spec, "ipFamilies")
    if addresses and not spec.get("clusterIP"):
        yield invalid_value("spec.clusterIPs", addresses, "must be empty when `clusterIP` is not specified")
    elif addresses and addresses[0] != spec["clusterIP"]:
        yield invalid_value("spec.clusterIPs", addresses, "first value must match `clusterIP`")
    for index, family in enumerate(families):
        if family not in _FAMILIES:
            yield unsupported(f"spec.ipFamilies[{index}]", family, _FAMILIES)
        if family in families[:index]:
            yield duplicate(f"spec.ipFamilies[{index}]", family)
    if spec["ipFamilyPolicy"] not in _POLICIES:
        yield unsupported("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], _POLICIES)
    if addresses[:1] == ["None"]:
        if len(addresses) > 1:
            yield invalid_value("spec.clusterIPs", addresses, "'None' must be the first and only value")
        return
    unread = [index for index, address in enumerate(addresses) if not _family_of(address)]
    for index in unread:
        text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        yield invalid_value(f"spec.clusterIPs[{index}]", addresses[index], text)
    if len(addresses) > 2:
        yield invalid_value("spec.clusterIPs", addresses, "may only hold up to 2 values")
    if unread:
        return
    if len(addresses) > 1 and {*map(_family_of, addresses)} != {*_FAMILIES}:
        text = "may specify no more than one IP for each IP family"
        yield invalid_value("spec.clusterIPs", addresses, text)
    for index, (address, family) in enumerate(zip(addresses, families, strict=False)):
        if family in _FAMILIES and _family_of(address) != family:
            text = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            yield invalid_value(f"spec.clusterIPs[{index}]", address, text)


def _family_of(address: str) -> str:
    """IPv4 or IPv6; "" where it is no address."""
    try:
        return f"IPv{ip_address(address).version}"
    except ValueError:
        return ""


def _validate_policy(spec: Object, was: Object) -> Iterator[Cause]:
    """Whether the policy allows as many as are asked for; with SingleStack alone, what is second goes."""
    policy, families = spec["ipFamilyPolicy"], strings(spec, "ipFamilies")
    if policy == _SINGLE and families == strings(was, "ipFamilies"):
        spec["ipFamilies"] = families = families[:1]
    if policy != _SINGLE and 0 < len(families) < len(strings(was, "ipFamilies")):
        text = "must be 'SingleStack' to release the secondary IP family"
        yield invalid_value("spec.ipFamilyPolicy", policy, text)
    for count, what in ((len(strings(spec, "clusterIPs")), "cluster IPs"), (len(families), "IP families")):
        if policy == _SINGLE and count == 2:
            text = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            yield invalid_value("spec.ipFamilyPolicy", policy, text)


def _inferred(spec: Object) -> Iterator[Cause]:
    """Take the families of addresses that are given without."""
    addresses, families = strings(spec, "clusterIPs"), strings(spec, "ipFamilies")
    for index, address in enumerate(addresses):
        if address == "None" or index < len(families):
            continue
        if (family := _family_of(address)) == _OURS:
            spec["ipFamilies"] = families = [*families, family]
        else:
            text = f"{family} is not configured on this cluster"
            yield invalid_value(f"spec.clusterIPs[{index}]", addresses, text)


def _complete_headless(spec: Object) -> None:
    families = strings(spec, "ipFamilies") or [_OURS]
    if len(families) == 1 and spec["ipFamilyPolicy"] != _SINGLE:
        families = [*families, *(one for one in _FAMILIES if one not in families)]
    spec["ipFamilies"] = families


def _validate_configured(spec: Object) -> Iterator[Cause]:
    if spec["ipFamilyPolicy"] == _REQUIRED:
        text = "this cluster is not configured for dual-stack services"
        yield invalid_value("spec.ipFamilyPolicy", _REQUIRED, text)
    for index, family in enumerate(strings(spec, "ipFamilies")):
        if family != _OURS:
            yield invalid_value(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")
