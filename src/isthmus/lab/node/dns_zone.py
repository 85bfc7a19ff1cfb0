"""The cluster's names as Kubernetes' DNS specification 1.1.0 has them: from Services to answers. Pure.

Answers A, SRV, CNAME and TXT below `cluster.local`, and says truthfully whether a name exists (NODATA) or not
(NXDOMAIN). The lab is closed: every other name does not exist. There are no reverse names.
"""

from collections.abc import Iterator

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rrset
from dns.rdatatype import RdataType

from isthmus.kube.objects import Service, SliceEndpoint
from isthmus.lab.node.endpoints import ServiceName, Services

DOMAIN = dns.name.from_text("cluster.local.")
TTL = 5
"""Seconds; CoreDNS' default for cluster names."""
_SVC = dns.name.from_text("svc", DOMAIN)
_IN = dns.rdataclass.IN
_Records = dict[RdataType, list[str]]


def answer(services: Services, query: dns.message.Message) -> dns.message.Message:
    """The response to one query, as large as it is: cutting it to size is the transport's work."""
    response = dns.message.make_response(query, recursion_available=True)
    response.flags |= dns.flags.AA
    if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
        response.set_rcode(dns.rcode.NOTIMP if query.opcode() != dns.opcode.QUERY else dns.rcode.FORMERR)
        return response
    asked = query.question[0]
    records = records_at(services, asked.name) if asked.rdclass == _IN else None
    if records is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
    for kind, texts in (records or {}).items():
        if kind in (asked.rdtype, RdataType.CNAME) or asked.rdtype == RdataType.ANY:
            response.answer.append(dns.rrset.from_text(asked.name, TTL, _IN, kind, *texts))
    _follow_alias(services, asked.rdtype, response)
    if not response.answer and asked.name.is_subdomain(DOMAIN):
        soa = f"ns.dns.{DOMAIN} hostmaster.{DOMAIN} 1 7200 1800 86400 {TTL}"
        response.authority.append(dns.rrset.from_text(DOMAIN, TTL, _IN, RdataType.SOA, soa))
    return response


def _follow_alias(services: Services, kind: RdataType, response: dns.message.Message) -> None:
    """Add the address of an ExternalName that is itself a name of the cluster."""
    if len(response.answer) != 1 or response.answer[0].rdtype != RdataType.CNAME or kind == RdataType.CNAME:
        return
    target = dns.name.from_text(response.answer[0].to_text().split()[-1])
    if texts := (records_at(services, target) or {}).get(kind):
        response.answer.append(dns.rrset.from_text(target, TTL, _IN, kind, *texts))


def records_at(services: Services, name: dns.name.Name) -> _Records | None:
    """All records of a name; empty where only names below it have some; None where it does not exist."""
    if not name.is_subdomain(_SVC):
        if name == dns.name.from_text("dns-version", DOMAIN):
            return {RdataType.TXT: ['"1.1.0"']}
        return {} if name == DOMAIN else None
    labels = [label.decode(errors="replace").lower() for label in name.relativize(_SVC).labels]
    if not labels:
        return {}
    namespace = labels.pop()
    if not labels:
        return {} if any(key.namespace == namespace for key in services.services) else None
    key = ServiceName(namespace, labels.pop())
    service = services.services.get(key)
    if service is None:
        return None
    if service.spec.type == "ExternalName":
        return None if labels else {RdataType.CNAME: [service.spec.external_name.rstrip(".") + "."]}
    if not labels:
        return _address(service, list(_members(services, key, service)))
    if labels[-1] in ("_tcp", "_udp"):
        return _srv(services, key, service, labels)
    named = [e.addresses[0] for e in _members(services, key, service) if [_hostname(e)] == labels]
    return {RdataType.A: named} if named else None


def _address(service: Service, members: list[SliceEndpoint]) -> _Records:
    if service.spec.cluster_ip != "None":
        return {RdataType.A: [service.spec.cluster_ip]} if service.spec.cluster_ip else {}
    found = sorted({member.addresses[0] for member in members})
    return {RdataType.A: found} if found else {}


def _srv(services: Services, key: ServiceName, service: Service, labels: list[str]) -> _Records | None:
    """SRV records; `labels` are [`_PORT`, `_PROTOCOL`] or the latter alone, an empty non-terminal."""
    protocol = labels[-1].removeprefix("_").upper()
    named = [port for port in service.spec.ports if port.protocol == protocol and port.name]
    if len(labels) == 1:
        return {} if named else None
    matching = [port for port in named if labels == [f"_{port.name}", labels[-1]]]
    if not matching:
        return None
    host = f"{key.name}.{key.namespace}.{_SVC}"
    if service.spec.cluster_ip != "None":
        return {RdataType.SRV: [f"0 100 {port.port} {host}" for port in matching]}
    found = {
        f"0 100 {port.port} {_hostname(endpoint)}.{host}"
        for slice_ in services.slices_of(key)
        for port in slice_.ports
        if (port.name, port.protocol) == (matching[0].name, protocol) and port.port
        for endpoint in _published(slice_.endpoints, service)
    }
    return {RdataType.SRV: sorted(found)} if found else {}


def _members(services: Services, key: ServiceName, service: Service) -> Iterator[SliceEndpoint]:
    """The published endpoints of a headless Service; none for others."""
    if service.spec.cluster_ip == "None":
        for slice_ in services.slices_of(key):
            yield from _published(slice_.endpoints, service)


def _published(endpoints: tuple[SliceEndpoint, ...], service: Service) -> list[SliceEndpoint]:
    everyone = service.spec.publish_not_ready_addresses
    return [e for e in endpoints if everyone or e.conditions.ready is not False]


def _hostname(endpoint: SliceEndpoint) -> str:
    return endpoint.hostname or endpoint.addresses[0].replace(".", "-")
