"""What can go wrong beside Envoy."""

import signal


class AdminUnreachableError(Exception):
    """Envoy's admin did not answer, or not with 200: it starts, ends, or is stuck. Try again, or give up."""


class CallRefusedError(Exception):
    """A gRPC call was not answered with what was asked. `code` is gRPC's (`UNAUTHENTICATED`), or ""."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(": ".join(part for part in (code, reason) if part))
        self.code = code


class NoCertificateError(Exception):
    """The CA gave no certificate now: keep the one that there is, and ask again later."""


class EnvoyEndedError(Exception):
    """Envoy ended though nobody asked it to. `exit_code` is what the agent should exit with."""

    def __init__(self, returncode: int) -> None:
        self.exit_code = 128 - returncode if returncode < 0 else returncode or 1
        super().__init__(describe_ending(returncode))


def describe_ending(returncode: int) -> str:
    """`Envoy ended with code 1`, or the signal's name when one killed it (a negative return code)."""
    if returncode >= 0:
        return f"Envoy ended with code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    return f"Envoy was killed by {name}"
