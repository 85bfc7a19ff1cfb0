"""The pod's identity, kept valid: follows the mesh's roots, asks for certificates in time, hands both on.

Neither a CA that cannot be reached nor a bundle that cannot be read takes away what is valid still.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import structlog

from isthmus.agent.certificate import (
    Answer,
    Certificate,
    check_roots,
    is_under,
    make_csr,
    new_key,
    read_certificate,
)
from isthmus.agent.errors import NoCertificateError
from isthmus.agent.renewal import Renewal
from isthmus.lib.lifecycle import task_scope

logger = structlog.get_logger()

POLL = 1.0
"""Seconds between looks at the file of roots: one `stat`."""
_LONGEST_SLEEP = 30.0
"""Seconds after which the wall clock is read again: a machine may have slept."""
_MOST_ROOTS = 1 << 20

Ask = Callable[[str, bytes], Awaitable[Answer]]
"""Sends a CSR to the CA that the roots vouch for, both PEM. Raises NoCertificateError."""


@dataclass(slots=True)
class Tally:
    """What became of the requests for certificates since the start."""

    issued: int = 0
    failed: int = 0


class Identity:
    """What the pod is known by at the moment; made by `running_identity` only."""

    def __init__(
        self,
        roots_file: Path,
        ask: Ask,
        changed: "Callable[[Identity], None]",
        clock: Callable[[], float],
    ) -> None:
        self.certificate: Certificate | None = None
        self.roots: bytes | None = None
        self.cluster = ""
        """The cluster that vouched for the pod, as the CA told."""
        self.tally = Tally()
        self._roots_file = roots_file
        self._ask = ask
        self._changed = changed
        self._clock = clock
        self._plan = Renewal()
        self._refusal = ""
        self._woken = asyncio.Event()

    def pending(self) -> str | None:
        """What is waited for, in words; None once there is a certificate, even if it cannot be renewed."""
        if self.roots is None:
            return f"no roots of the mesh in {self._roots_file} (ConfigMap istio-ca-root-cert) yet"
        if self.certificate is None:
            return f"no certificate yet: {self._refusal or 'the CA was not asked yet'}"
        return None

    # The work of its two tasks.

    async def follow_roots(self) -> NoReturn:
        """Read the bundle whenever its file changes."""
        seen: tuple[int, ...] | None = None
        told = ""
        while True:
            reason, look = "", _look(self._roots_file)
            if look != seen and look is not None:
                seen = look
                reason = self._read_roots()
            elif look is None and self.roots is None:
                reason = self.pending() or ""
            if reason and reason != told:
                logger.warning("waiting for the mesh's roots", reason=reason)
            told = reason or told
            await asyncio.sleep(POLL)

    def _read_roots(self) -> str:
        """Why the bundle that is there now is of no use; "" where it is in force."""
        try:
            with self._roots_file.open("rb") as file:
                roots = check_roots(file.read(_MOST_ROOTS))
        except OSError as error:
            return f"{self._roots_file} cannot be read: {error.strerror}"
        except ValueError as error:
            return f"{self._roots_file} is no bundle: {error}"
        if roots == self.roots:
            return ""
        logger.info("the mesh's roots are read", again=self.roots is not None)
        self.roots = roots
        self._look_whether_it_does()
        self._changed(self)
        self._woken.set()
        return ""

    async def renew(self) -> NoReturn:
        """Have a valid certificate, for ever."""
        while True:
            self._woken.clear()
            wait = self._plan.due - self._clock()
            if self.roots is not None and wait <= 0:
                await self._request(self.roots)
                continue
            try:
                async with asyncio.timeout(None if self.roots is None else min(wait, _LONGEST_SLEEP)):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def _request(self, roots: bytes) -> None:
        key = new_key()
        try:
            answer = await self._ask(make_csr(key), roots)
            self.certificate = read_certificate(key, answer.certificates)
        except (NoCertificateError, ValueError) as error:
            self._fail(str(error))
            return
        self.cluster = answer.cluster
        self.tally.issued += 1
        self._refusal = ""
        now, expires = self._clock(), self.certificate.expires
        self._plan.issued(now, expires)
        logger.info(
            "a certificate was issued",
            seconds_left=round(expires - now),
            renewal_in=round(self._plan.due - now, 1),
        )
        if roots is not self.roots:  # they changed while the CA was asked
            self._look_whether_it_does()
        self._changed(self)

    def _look_whether_it_does(self) -> None:
        """A certificate that no peer with the present roots would take is renewed now."""
        if self.certificate and self.roots and not is_under(self.certificate.chain, self.roots):
            logger.warning("the certificate is under none of the new roots, and is renewed")
            self._plan.hurry(self._clock())

    def _fail(self, reason: str) -> None:
        self.tally.failed += 1
        self._refusal = reason
        now = self._clock()
        if self._plan.failed(now, reason):
            left = None if self.certificate is None else round(self.certificate.expires - now)
            logger.warning("no certificate was issued; asking again", reason=reason, seconds_left=left)


@asynccontextmanager
async def running_identity(
    roots_file: Path,
    ask: Ask,
    changed: Callable[[Identity], None],
    *,
    clock: Callable[[], float] = time.time,
) -> AsyncGenerator[Identity]:
    """Keep the pod's identity valid until the block ends; `changed` hears of new roots and certificates."""
    identity = Identity(roots_file, ask, changed, clock)
    async with task_scope() as tasks:
        tasks.serve(identity.follow_roots(), name="roots")
        tasks.serve(identity.renew(), name="renewal")
        yield identity


def _look(file: Path) -> tuple[int, ...] | None:
    """What tells one state of a file from another; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
