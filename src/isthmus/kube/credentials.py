"""Bearer tokens as they are needed: fixed, out of a file that rotates, or from an exec plugin.

A token never appears in an error or a log.
"""

import asyncio
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from isthmus.kube.access import Access, ExecPlugin
from isthmus.kube.errors import Unreachable
from isthmus.kube.exec_credential import ExecCredential, run_plugin
from isthmus.lib.tls import load_pair

_REREAD_AFTER = 60.0
"""Seconds after which a token file is read again even though it looks the same."""
_RENEW_BEFORE = 30.0
"""Seconds before its expiry that a plugin's credential is no longer used."""


class Credentials(Protocol):
    """Who we say we are, request by request."""

    async def token(self) -> str | None:
        """The bearer token to send now, None for none. Raises Unreachable where it cannot be had."""
        ...

    def refused(self) -> None:
        """The server answered 401: what was remembered is to be got anew."""
        ...


@dataclass(slots=True)
class FixedToken:
    """A token for as long as the client lives, or none at all."""

    value: str | None = field(repr=False)

    async def token(self) -> str | None:
        """The token."""
        return self.value

    def refused(self) -> None:
        """There is no other."""


@dataclass(slots=True)
class TokenFile:
    """A token file that somebody else rotates (Kubernetes: projected tokens, about hourly).

    It is read again when it was replaced or written, after a refusal, and each minute; while it cannot be
    read the last token stays in use.
    """

    path: Path
    _value: str | None = field(default=None, repr=False)
    _stamp: tuple[int, int, int] | None = None
    _read_at: float = 0.0

    async def token(self) -> str | None:
        """The token in the file."""
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if stamp != self._stamp or time.monotonic() - self._read_at >= _REREAD_AFTER:
                value = self.path.read_text("ascii").strip()
                if value.split() != [value]:
                    raise ValueError
                self._value, self._stamp, self._read_at = value, stamp, time.monotonic()
        except (OSError, ValueError) as error:
            if self._value is None:
                why = error.strerror if isinstance(error, OSError) else "it holds no token"
                raise Unreachable(f"the token file {self.path} cannot be read: {why}") from None
        return self._value

    def refused(self) -> None:
        """Read the file again next time."""
        self._stamp = None


@dataclass(slots=True)
class PluginToken:
    """What an exec plugin gives, run again shortly before it expires and after a refusal.

    A client certificate goes into `context`, for the connections that follow. Concurrent requests share one
    run of the plugin.
    """

    plugin: ExecPlugin
    context: ssl.SSLContext | None
    _credential: ExecCredential | None = None
    _running: asyncio.Event | None = None

    async def token(self) -> str | None:
        """The credential's token; None where it is a client certificate. Raises Unreachable."""
        while (had := self._credential) is None or had.expires - _RENEW_BEFORE <= time.time():
            if self._running is None:
                return (await self._run()).token
            await self._running.wait()
        return had.token

    def refused(self) -> None:
        """Run the plugin again next time."""
        self._credential = None

    async def _run(self) -> ExecCredential:
        self._running = asyncio.Event()
        try:
            self._credential = given = await run_plugin(self.plugin)
            if self.context is not None and given.cert_pem and given.key_pem:
                load_pair(self.context, given.cert_pem, given.key_pem)
        except (ssl.SSLError, ValueError):
            raise Unreachable("the credential plugin's certificate and key cannot be read") from None
        else:
            return given
        finally:
            self._running.set()
            self._running = None


def credentials_of(access: Access, context: ssl.SSLContext | None) -> Credentials:
    """Where the bearer token of an access comes from."""
    if access.token_file is not None:
        return TokenFile(access.token_file)
    if access.token is not None:
        return FixedToken(access.token)
    if access.exec_plugin is not None:
        return PluginToken(access.exec_plugin, context)
    return FixedToken(None)
