"""What is derived before the first proxy comes."""

from isthmus.model.identity import Identity
from isthmus.model.proxy import Proxy
from isthmus.model.service import ClusterId


def likely_proxies(home: ClusterId, namespace: str, *, plain: bool) -> list[Proxy]:
    """Proxies of no Pod, which see what all of the `home` cluster share: one that proves who it is, and with
    `plain` one that need not. What only another cluster's share is derived when the first of these comes.
    """
    proved = Identity("", namespace, "")
    return [
        Proxy(
            node_id="",
            kind="sidecar",
            address="",
            pod="",
            namespace=namespace,
            cluster=home,
            metadata={},
            identity=identity,
        )
        for identity in ((proved, None) if plain else (proved,))
    ]
