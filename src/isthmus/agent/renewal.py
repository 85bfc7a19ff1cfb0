"""When a workload's next certificate is asked for. Pure: all times are Unix seconds, given by the caller."""

from random import Random

from isthmus.lib.backoff import Backoff

_RENEW_AT = (0.45, 0.55)
"""Shares of a certificate's life between which its renewal falls: Istio's half, with jitter, so that pods
that started together do not come together."""
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 60.0
_LEAST_ATTEMPTS = 8
"""How often at least a certificate's remaining life is tried to be used for its renewal."""
_SHORTEST_DELAY = 1.0


class Renewal:
    """The plan of one workload: ask at once, then in time, after a failure again with growing delays."""

    def __init__(self, source: Random | None = None) -> None:
        self.due = 0.0
        """When to ask next."""
        self.expires = 0.0
        """When the certificate that there is expires; 0 while there is none."""
        self._source = source or Random()
        self._backoff = Backoff(initial=_FIRST_DELAY, cap=_LONGEST_DELAY, source=self._source)
        self._told: tuple[str, bool] | None = None

    def issued(self, now: float, expires: float) -> None:
        """A certificate was issued: the next is asked for when about half of what is left has passed."""
        self.expires = expires
        self._backoff.reset()
        self._told = None
        life = max(0.0, expires - now)
        self.due = now + max(_SHORTEST_DELAY, life * self._source.uniform(*_RENEW_AT))

    def failed(self, now: float, reason: str) -> bool:
        """None was issued. Gives whether that is news: another reason, or nothing valid is left."""
        delay = self._backoff.next_delay()
        if now < self.expires:
            delay = min(delay, max(_SHORTEST_DELAY, (self.expires - now) / _LEAST_ATTEMPTS))
        self.due = now + delay
        told, self._told = self._told, (reason, now < self.expires)
        return self._told != told

    def hurry(self, now: float) -> None:
        """The certificate that there is will not do any more: ask now."""
        self._backoff.reset()
        self.due = now
