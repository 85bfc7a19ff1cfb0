"""What to do about a cluster that is not well: one plain sentence for each kind of failure. Pure."""

from isthmus.clusters.health import Health, Problem, State
from isthmus.kube.errors import ApiError


def advise(health: Health, *, secret: str, server: str, expires: float | None, now: float) -> str:
    """What an operator can do; "" where there is nothing to do.

    `secret` is `namespace/name`, "" for the control plane's own cluster. `expires` is when its credential
    does, None where that is not known. Times are Unix seconds.
    """
    where = f"Secret {secret}" if secret else "the control plane's own credential"
    match health.state:
        case State.FRESH | State.SYNCING | State.REMOVED:
            return ""
        case State.REFUSED:
            return f"Correct {where} as the reason says; it is read again at once."
        case State.UNAUTHORISED:
            if expires is not None and expires <= now:
                return f"Its credential has expired: put a new kubeconfig into {where}."
            if isinstance(health.error, ApiError) and health.error.status == 403:
                return f"Grant the reader in the cluster at {server} the rights that the reason names."
            return f"Put a kubeconfig that {server} accepts into {where}."
        case State.STALE | State.UNREACHABLE:
            return _mend(health.error, where, server)


def _mend(error: Problem | None, where: str, server: str) -> str:
    if isinstance(error, ApiError):
        if error.status == 429:
            return f"{server} is overloaded: give it more room, or fewer clients."
        return f"{server} answers with an error: look at its API server's own log."
    if error is None:
        return "This is a fault of the control plane: report it, with its log."
    if "certificate" in error.reason.lower() or "tls" in error.reason.lower():
        return f"Check the certificate authority and the server name in {where} against {server}."
    return f"Check that {server} runs, and that the control plane's pods reach it."
