"""One cluster as a command talks to it; every failure of its API server is a sentence with a way forward."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import Kind, untyped
from isthmus.lib.errors import UserError

ACCOUNTS = untyped("", "v1", "serviceaccounts", "ServiceAccount")
NAMESPACES = untyped("", "v1", "namespaces", "Namespace", namespaced=False)
SECRETS = untyped("", "v1", "secrets", "Secret")

_REMEDIES = {
    401: "the credential is not, or no longer, valid: log in again, or name another context",
    403: "name a context of somebody who may, as a rule an administrator",
    404: "check the name and the namespace",
    409: "somebody else changed it in this moment: run the command again",
    422: "correct that field",
}


@dataclass(frozen=True, slots=True)
class Site:
    """A cluster in a command's hands. `label` is what its sentences call it: `context east`."""

    label: str
    client: Client

    @contextmanager
    def asking(self, what: str) -> Generator[None]:
        """Turn what the API server says against `what` (`create ServiceAccount a/b`) into a UserError."""
        try:
            yield
        except ApiError as error:
            remedy = _REMEDIES.get(error.status, "try again later")
            raise UserError(
                f"{self.label}: cannot {what}: {error.message or error.reason}; {remedy}."
            ) from error
        except Unreachable as error:
            raise UserError(
                f"{self.label}: cannot {what}: the API server {self.client.server} gives no answer "
                f"({error.reason}); check the context's server, and the network to it."
            ) from error


async def find(
    site: Site, kind: Kind[dict[str, Any]], name: str, namespace: str = ""
) -> dict[str, Any] | None:
    """An object as it is, None where there is none. Raises UserError for all other refusals."""
    where = f"{namespace}/{name}" if namespace else name
    with site.asking(f"read {kind.kind} {where}"):
        try:
            return await site.client.get(kind, name, namespace or None)
        except ApiError as error:
            if error.status == 404:
                return None
            raise


async def read_identity(site: Site) -> str:
    """The UID of `kube-system`, which tells clusters apart whatever they are called."""
    with site.asking("read Namespace kube-system, by whose UID clusters are told apart"):
        found = await site.client.get(NAMESPACES, "kube-system")
    return str(found["metadata"]["uid"])
