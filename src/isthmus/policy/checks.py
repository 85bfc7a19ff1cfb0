"""Envoy's `envoy.service.auth.v3.Authorization/Check`: bytes in, bytes out."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeAlias

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from google.protobuf.message import DecodeError

from isthmus.config.policy_context import CONTEXT_METADATA
from isthmus.model.identity import TrustDomain
from isthmus.policy.answers import check_response
from isthmus.policy.attributes import CheckAttributes
from isthmus.policy.client import Clients, Workloads
from isthmus.policy.engine import Lists, decide
from isthmus.policy.errors import Malformed
from isthmus.policy.quotas import Quotas
from isthmus.policy.rulebook import Rulebook
from isthmus.policy.tally import Tally

METHOD = "/envoy.service.auth.v3.Authorization/Check"
Fields: TypeAlias = Iterable[tuple[str, str | bytes]]
"""The metadata of a call."""
Method: TypeAlias = Callable[[bytes, Fields], Awaitable[bytes]]


class Checks:
    """Answers checks by the rules of a rulebook."""

    def __init__(
        self,
        rulebook: Rulebook,
        *,
        trust_domain: TrustDomain,
        workloads: Workloads,
        lists: Lists,
        quotas: Quotas,
        tally: Tally,
    ) -> None:
        self._rulebook = rulebook
        self._clients = Clients(trust_domain, workloads)
        self._lists = lists
        self._quotas = quotas
        self._tally = tally

    def methods(self) -> Mapping[str, Method]:
        """What it serves, by gRPC's name."""
        return {METHOD: self.check}

    async def check(self, message: bytes, fields: Fields = ()) -> bytes:
        """Answer a serialised CheckRequest: of a request, or of a connection. Raises Malformed."""
        try:
            context = CheckRequest.FromString(message).attributes
            said = _context(fields)
            destination, plan = self._rulebook.plan(
                context.context_extensions if said is None else said,
                connection=not context.request.HasField("http"),
            )
        except (DecodeError, ValueError) as error:
            self._tally.checks["malformed"] += 1
            raise Malformed(f"this is no check that can be answered: {error}") from None
        decision = await decide(
            plan,
            CheckAttributes(context, destination, self._clients),
            lists=self._lists,
            quotas=self._quotas,
            tally=self._tally,
        )
        self._tally.checks["allowed" if decision.denial is None else "denied"] += 1
        return check_response(decision, context.request.http.headers)


def _context(fields: Fields) -> str | None:
    """What the filter says of its destination in the call's metadata, where it says it there."""
    for name, value in fields:
        if name == CONTEXT_METADATA:
            return value if isinstance(value, str) else None
    return None
