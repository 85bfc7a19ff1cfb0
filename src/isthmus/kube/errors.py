"""What can go wrong between us and an API server, in the few ways that a caller can act upon."""

from isthmus.lib.errors import UserError


class ApiError(Exception):
    """The API server answered, and refused. `status` says what to do: 401 and 403 want other credentials
    or rights, 404 and 409 are the caller's business, 410 wants a new list, 429 and 5xx a later attempt.

    `reason` is Kubernetes' StatusReason (`NotFound`) or the HTTP phrase; `message` is for people.
    `retry_after` is the server's own wish in seconds, None where it said nothing.
    """

    def __init__(self, status: int, reason: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}" if message else f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class Unreachable(Exception):  # noqa: N818 - the domain's word
    """No answer of an API server was had: no connection, no trust, no answer in time, or nonsense.

    `reason` is one plain clause without secrets. Try again later.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class KubeconfigRefused(UserError):  # noqa: N818 - the domain's word
    """A kubeconfig that must not or cannot be used; trying again is of no use until it was corrected.

    `field` is the path of the culprit (`users[0].user.exec`), "" for the text as a whole; `reason` says
    what is wrong with it, and `remedy` what to do. None of them holds a secret.
    """

    def __init__(self, field: str, reason: str, remedy: str) -> None:
        super().__init__(f"kubeconfig{': ' + field if field else ''}: {reason}; {remedy}")
        self.field = field
        self.reason = reason
        self.remedy = remedy
