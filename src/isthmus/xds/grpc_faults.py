"""What peers do wrong with their connections: all of it counted, little of it told.

Whoever reaches a listener can send garbage, as often as it likes. Of each kind of fault the first is a log
line, and what follows within a while is one line with its number.
"""

from collections import Counter
from dataclasses import dataclass

import structlog

log = structlog.get_logger()

_QUIET = 60.0
"""Seconds after a line in which the same kind of fault is only counted."""


@dataclass(slots=True)
class _Quiet:
    until: float
    more: int = 0
    peer: str = ""


class Faults:
    """Of any number of listeners. Kinds are HTTP/2's error codes by name (RFC 9113, 7), so they are few."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Connections that were ended, since the process began."""
        self._quiet: dict[str, _Quiet] = {}

    def note(self, kind: str, peer: str, reason: str, now: float) -> None:
        """A connection is ended for this. `now` in seconds that never go back."""
        self.counts[kind] += 1
        quiet = self._quiet.get(kind)
        if quiet is None:
            log.info("connection ended", peer=peer, code=kind, reason=reason)
            self._quiet[kind] = _Quiet(now + _QUIET)
        else:
            quiet.more += 1
            quiet.peer = peer

    def tell(self, now: float) -> None:
        """Say how many more there were. To be called every few seconds."""
        for kind, quiet in tuple(self._quiet.items()):
            if now < quiet.until:
                continue
            if quiet.more:
                log.info("more connections ended", code=kind, connections=quiet.more, latest=quiet.peer)
                self._quiet[kind] = _Quiet(now + _QUIET)
            else:
                del self._quiet[kind]
