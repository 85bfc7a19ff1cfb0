"""The parts of one API server that its request functions share, wired together. It serves nothing itself."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from isthmus.lab.apiserver.authn import TokenAuthenticator
from isthmus.lab.apiserver.definitions import serve_defined
from isthmus.lab.apiserver.rbac import Authorizer
from isthmus.lab.apiserver.served import Kinds
from isthmus.lab.apiserver.store import Store
from isthmus.lab.apiserver.tokens import TokenSigner
from isthmus.lab.apiserver.watch import Watches
from isthmus.lab.pki import PkiFiles


@dataclass(frozen=True, slots=True)
class Settings:
    """How one server differs from another. The Service `kubernetes` leads to `address` and `port`."""

    pki: PkiFiles
    service_cidr: IPv4Network
    address: IPv4Address
    port: int
    bookmark_seconds: float = 60.0
    kubelet_port: int = 10250


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster's state and the parts that look after it."""

    settings: Settings
    kinds: Kinds
    store: Store
    watches: Watches
    authorizer: Authorizer
    signer: TokenSigner
    authenticator: TokenAuthenticator


def assemble(settings: Settings) -> Cluster:
    """An empty cluster."""
    store, kinds = Store(), Kinds()
    store.listen(lambda change: serve_defined(kinds, change.resource, change.key, change.new))
    signer = TokenSigner.load(settings.pki.service_account_key)
    return Cluster(
        settings,
        kinds,
        store,
        Watches(store),
        Authorizer(store),
        signer,
        TokenAuthenticator(store, signer),
    )
