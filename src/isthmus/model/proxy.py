"""A proxy as it introduces itself on its first xDS request."""

from collections.abc import Mapping
from dataclasses import dataclass

from isthmus.model.identity import Identity
from isthmus.model.service import ClusterId


@dataclass(frozen=True, slots=True)
class Proxy:
    """Who asks for configuration. Istio's node id is `sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.DOMAIN`.

    `cluster` is `metadata.CLUSTER_ID`; "" when the proxy did not say. `metadata` holds the string-valued
    fields of the node's metadata and nothing else.

    `identity` is what it proved, None where nothing was asked of it: then all of this is its word alone. With
    an identity, `address`, `pod`, `namespace` and `cluster` are those of its Pod.
    """

    node_id: str
    kind: str
    address: str
    pod: str
    namespace: str
    cluster: ClusterId
    metadata: Mapping[str, str]
    identity: Identity | None = None
