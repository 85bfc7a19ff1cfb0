"""Envoy's `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`: bytes in, bytes out.

A descriptor is held to every limit of its domain that is about just its entries. Over one is over; what a
descriptor took of other limits by then stays taken, as in Envoy's own rate limit service.
"""

from collections.abc import Mapping, Sequence

from envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import RateLimitDescriptor
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from google.protobuf.message import DecodeError

from isthmus.policy.checks import Fields, Method
from isthmus.policy.errors import Malformed
from isthmus.policy.quotas import Quotas, Taken
from isthmus.policy.rulebook import Rulebook
from isthmus.policy.rules import CompiledLimit
from isthmus.policy.tally import Outcome, Tally

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
_MOST_DESCRIPTORS = 64
_UNITS = {
    1.0: RateLimitResponse.RateLimit.SECOND,
    60.0: RateLimitResponse.RateLimit.MINUTE,
    3600.0: RateLimitResponse.RateLimit.HOUR,
    86400.0: RateLimitResponse.RateLimit.DAY,
    604800.0: RateLimitResponse.RateLimit.WEEK,
}


class Limits:
    """Answers by the limits of a rulebook."""

    def __init__(self, rulebook: Rulebook, *, quotas: Quotas, tally: Tally) -> None:
        self._rulebook = rulebook
        self._quotas = quotas
        self._tally = tally

    def methods(self) -> Mapping[str, Method]:
        """What it serves, by gRPC's name."""
        return {METHOD: self.should_rate_limit}

    async def should_rate_limit(self, message: bytes, _: Fields = ()) -> bytes:
        """Answer a serialised RateLimitRequest. Raises Malformed."""
        try:
            request = RateLimitRequest.FromString(message)
        except DecodeError as error:
            raise Malformed(f"this is no rate limit request: {error}") from None
        if not request.domain or len(request.descriptors) > _MOST_DESCRIPTORS:
            raise Malformed(
                f"a rate limit request needs a domain, and at most {_MOST_DESCRIPTORS} descriptors"
            )
        limits = self._rulebook.limits(request.domain)
        statuses = [await self._status(one, limits, request.hits_addend or 1) for one in request.descriptors]
        over = any(status.code == RateLimitResponse.OVER_LIMIT for status in statuses)
        self._tally.checks["limit-over" if over else "limit-ok"] += 1
        code = RateLimitResponse.OVER_LIMIT if over else RateLimitResponse.OK
        return RateLimitResponse(overall_code=code, statuses=statuses).SerializeToString()

    async def _status(
        self, descriptor: RateLimitDescriptor, limits: Sequence[CompiledLimit], hits: int
    ) -> RateLimitResponse.DescriptorStatus:
        entries = {entry.key: entry.value for entry in descriptor.entries}
        tightest: tuple[CompiledLimit, Taken] | None = None
        for limit in limits:
            key = limit.key_of(entries)
            if key is None:
                continue
            taken = await self._quotas.take(limit.bucket, key, hits)
            outcome = Outcome.MATCHED if taken.allowed else Outcome.DENIED
            why = f"{limit.bucket.most} in {limit.bucket.window:g} s"
            self._tally.count(limit.label, outcome, dry_run=limit.dry_run, why=why)
            if limit.dry_run:
                continue
            if tightest is None or _tightness(taken) < _tightness(tightest[1]):
                tightest = limit, taken
        return (
            RateLimitResponse.DescriptorStatus(code=RateLimitResponse.OK)
            if tightest is None
            else _told(*tightest)
        )


def _tightness(taken: Taken) -> tuple[bool, int]:
    return taken.allowed, taken.remaining


def _told(limit: CompiledLimit, taken: Taken) -> RateLimitResponse.DescriptorStatus:
    status = RateLimitResponse.DescriptorStatus(
        code=RateLimitResponse.OK if taken.allowed else RateLimitResponse.OVER_LIMIT,
        limit_remaining=max(0, taken.remaining),
        current_limit=RateLimitResponse.RateLimit(
            name=limit.label,
            requests_per_unit=limit.bucket.most,
            unit=_UNITS.get(limit.bucket.window, RateLimitResponse.RateLimit.UNKNOWN),
        ),
    )
    status.duration_until_reset.seconds = max(0, int(taken.reset))
    return status
