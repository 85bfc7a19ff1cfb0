"""Addresses as options spell them: HOST:PORT."""

from typing import NamedTuple

from isthmus.lib.errors import UserError


class HostPort(NamedTuple):
    """Where to listen or to dial. An IPv6 host is written in brackets and kept without them."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def split_host_port(text: str) -> HostPort | None:
    """Read `HOST:PORT` or `[IPv6]:PORT`, None where it is neither. The host may be empty, the port 0."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    valid_port = port.isascii() and port.isdecimal() and int(port) < 65536
    if not colon or not valid_port or any(char.isspace() for char in host):
        return None
    host = host[1:-1] if bracketed else host
    return HostPort(host, int(port)) if (":" in host) == bracketed else None


def parse_host_port(text: str, option: str) -> HostPort:
    """Where to listen: `127.0.0.1:15010`, `[::1]:15010`, `:15010` (all addresses); port 0 asks for any.

    Raises UserError (exit code 2) naming `option`.
    """
    found = split_host_port(text)
    if found is None:
        raise UserError(
            f"{option} is {text!r}, which is no HOST:PORT; write for example 127.0.0.1:15010 or [::1]:15010.",
            exit_code=2,
        )
    return HostPort(found.host or "0.0.0.0", found.port)
