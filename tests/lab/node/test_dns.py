import asyncio
from functools import partial

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.lab.node.dns_server import respond, running_dns
from isthmus.lab.node.dns_zone import answer
from isthmus.lab.node.endpoints import Services
from tests.lab.node.builders import endpoint, service, services, slice_of

KNOWN = services(
    service(),
    service("db", "None"),
    service("outside", "", type="ExternalName", externalName="web.demo.svc.cluster.local"),
    slice_of("web", endpoint("10.0.0.1")),
    slice_of(
        "db",
        endpoint("10.0.0.5") | {"hostname": "db-0"},
        endpoint("10.0.0.6"),
        endpoint("10.0.0.7", ready=False),
    ),
)


def ask(name: str, kind: str = "A", known: Services = KNOWN) -> tuple[str, list[str]]:
    response = answer(known, dns.message.make_query(name, kind))
    texts = [line for rrset in response.answer for line in rrset.to_text().splitlines()]
    return dns.rcode.to_text(response.rcode()), [" ".join(text.split()[3:]) for text in texts]


def test_a_service_answers_its_cluster_ip() -> None:
    assert ask("web.demo.svc.cluster.local.") == ("NOERROR", ["A 10.213.8.20"])


def test_names_are_compared_without_case() -> None:
    assert ask("WEB.Demo.svc.CLUSTER.local.")[1] == ["A 10.213.8.20"]


def test_ipv6_of_a_service_is_nodata_and_not_nxdomain() -> None:
    response = answer(KNOWN, dns.message.make_query("web.demo.svc.cluster.local.", "AAAA"))
    assert (response.rcode(), response.answer, len(response.authority)) == (dns.rcode.NOERROR, [], 1)


@pytest.mark.parametrize(
    "name",
    [
        "nosuch.demo.svc.cluster.local.",
        "web.nosuch.svc.cluster.local.",
        "web.",
        "example.com.",
        "x.web.demo.svc.cluster.local.",
    ],
)
def test_what_does_not_exist_is_nxdomain(name: str) -> None:
    assert ask(name) == ("NXDOMAIN", [])


@pytest.mark.parametrize("name", ["cluster.local.", "svc.cluster.local.", "demo.svc.cluster.local."])
def test_names_above_services_exist_without_data(name: str) -> None:
    assert ask(name) == ("NOERROR", [])


def test_a_headless_service_answers_its_ready_endpoints() -> None:
    assert ask("db.demo.svc.cluster.local.") == ("NOERROR", ["A 10.0.0.5", "A 10.0.0.6"])
    assert ask("db-0.db.demo.svc.cluster.local.") == ("NOERROR", ["A 10.0.0.5"])
    assert ask("10-0-0-6.db.demo.svc.cluster.local.") == ("NOERROR", ["A 10.0.0.6"])


def test_a_headless_service_may_publish_endpoints_that_are_not_ready() -> None:
    known = services(
        service("db", "None", publishNotReadyAddresses=True),
        slice_of("db", endpoint("10.0.0.7", ready=False)),
    )
    assert ask("db.demo.svc.cluster.local.", known=known) == ("NOERROR", ["A 10.0.0.7"])


def test_an_external_name_is_followed_within_the_cluster() -> None:
    expected = ["CNAME web.demo.svc.cluster.local.", "A 10.213.8.20"]
    assert ask("outside.demo.svc.cluster.local.") == ("NOERROR", expected)


def test_ports_are_found_by_srv() -> None:
    assert ask("_http._tcp.web.demo.svc.cluster.local.", "SRV") == (
        "NOERROR",
        ["SRV 0 100 80 web.demo.svc.cluster.local."],
    )
    assert ask("_http._tcp.db.demo.svc.cluster.local.", "SRV")[1] == [
        "SRV 0 100 8080 10-0-0-6.db.demo.svc.cluster.local.",
        "SRV 0 100 8080 db-0.db.demo.svc.cluster.local.",
    ]
    assert ask("_nosuch._tcp.web.demo.svc.cluster.local.", "SRV")[0] == "NXDOMAIN"


async def test_udp_and_tcp_give_the_same_answer_and_udp_says_what_it_leaves_out() -> None:
    many = [endpoint(f"10.0.{n // 250}.{n % 250 + 1}") for n in range(300)]
    known = services(service("big", "None"), slice_of("big", *many))
    query = dns.message.make_query("big.demo.svc.cluster.local.", "A", use_edns=False)
    async with running_dns("127.0.0.1", 0, partial(answer, known)) as port, asyncio.timeout(5):
        short = await dns.asyncquery.udp(query, "127.0.0.1", port=port)
        whole = await dns.asyncquery.tcp(query, "127.0.0.1", port=port)
    assert short.flags & dns.flags.TC
    assert len(short.to_wire()) <= 512
    assert len(whole.answer[0]) == 300


@given(st.binary(max_size=600))
def test_any_bytes_are_answered_or_dropped(wire: bytes) -> None:
    respond(wire, partial(answer, KNOWN), 512)
