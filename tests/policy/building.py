"""Policies and checks for tests, with as few words as possible."""

from collections.abc import Mapping, Sequence
from typing import Any

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

from isthmus.config.policy_context import Destination, context_of
from isthmus.model.identity import TrustDomain
from isthmus.policy.checks import Checks
from isthmus.policy.client import KnownWorkload, Workloads
from isthmus.policy.lists import Entries
from isthmus.policy.quotas import MemoryQuotas, Quotas
from isthmus.policy.rulebook import Rulebook
from isthmus.policy.rules import ListSource
from isthmus.policy.tally import Tally
from isthmus.policy.workloads import WorkloadIndex

Json = dict[str, Any]
ROOT = "istio-system"
ECHO = Destination("west", "demo", "echo", "echo.demo.svc.cluster.local", "echo", {"app": "echo"})
CLIENT = "spiffe://cluster.local/ns/demo/sa/client"
DENY: Json = {"deny": {}}


def policy(*rules: Json, name: str = "guard", namespace: str = "demo", **spec: Any) -> Json:
    """A Policy as the API server has it; rules without a name are called rule-0, rule-1 …"""
    named = [{"name": f"rule-{index}", **rule} for index, rule in enumerate(rules)]
    return {
        "apiVersion": "policy.isthmus.dev/v1alpha1",
        "kind": "Policy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"rules": named, **spec},
    }


def denies(when: str, **more: Any) -> Json:
    """A rule that denies what `when` says."""
    return {"when": when, "deny": {}, **more}


def rulebook(*policies: Json) -> Rulebook:
    """A rulebook with these in force."""
    book = Rulebook(root_namespace=ROOT)
    for one in policies:
        refusal = book.apply(one).refusal
        assert refusal is None, refusal
    return book


class FakeWorkloads:
    """A feed that knows what it was told."""

    def __init__(self, known: Mapping[str, Sequence[KnownWorkload]]) -> None:
        self._known = known

    def at(self, address: str) -> Sequence[KnownWorkload]:
        return self._known.get(address, ())


def check_request(
    path: str = "/",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    principal: str = "",
    ip: str = "10.1.2.3",
    destination: Destination = ECHO,
    sni: str = "",
) -> bytes:
    """What Envoy asks."""
    request = CheckRequest()
    attributes = request.attributes
    attributes.source.address.socket_address.address = ip
    attributes.source.address.socket_address.port_value = 40000
    attributes.source.principal = principal
    attributes.destination.address.socket_address.address = "10.1.9.9"
    attributes.destination.address.socket_address.port_value = 8080
    attributes.request.time.seconds = 1_700_000_000
    http = attributes.request.http
    http.id, http.method, http.path, http.host = "1", method, path, "echo.demo"
    http.scheme, http.protocol, http.size = "http", "HTTP/1.1", -1
    http.headers.update(headers or {})
    attributes.tls_session.sni = sni
    attributes.context_extensions.update(context_of(destination))
    return request.SerializeToString()


def checks(
    book: Rulebook,
    *,
    workloads: Workloads | None = None,
    lists: Mapping[ListSource, Entries] | None = None,
    quotas: Quotas | None = None,
    tally: Tally | None = None,
) -> Checks:
    """The service over a rulebook."""
    return Checks(
        book,
        trust_domain=TrustDomain("cluster.local"),
        workloads=workloads or WorkloadIndex(),
        lists=(lists or {}).get,
        quotas=quotas or MemoryQuotas(),
        tally=tally or Tally(),
    )


async def answer(service: Checks, message: bytes) -> CheckResponse:
    """What it answers."""
    return CheckResponse.FromString(await service.check(message))


def denier(response: CheckResponse) -> str:
    """The rule that refused, "" where the request was allowed."""
    return next(
        (h.header.value for h in response.denied_response.headers if h.header.key == "x-isthmus-policy"), ""
    )


async def denied_by(book: Rulebook, message: bytes, **more: Any) -> str:
    """The rule of the book that refuses, "" where none does."""
    return denier(await answer(checks(book, **more), message))
