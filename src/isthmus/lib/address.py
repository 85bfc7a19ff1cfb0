"""Addresses as options spell them: HOST:PORT."""

from typing import NamedTuple

from isthmus.lib.errors import UserError


class HostPort(NamedTuple):
    """Where to listen or to dial. An IPv6 host is written in brackets and kept without them."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_host_port(text: str, option: str) -> HostPort:
    """Read `127.0.0.1:15010`, `[::1]:15010` or `:15010` (all addresses); port 0 asks for a free one.

    Raises UserError (exit code 2) naming `option`.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not port.isdecimal() or int(port) > 65535 or (":" in host and not bracketed):
        raise UserError(
            f"{option} is {text!r}, which is no HOST:PORT; write for example 127.0.0.1:15010 or [::1]:15010.",
            exit_code=2,
        )
    return HostPort(host.strip("[]") or "0.0.0.0", int(port))
