"""Which kinds of objects there are, and under which paths API servers keep them."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from isthmus.kube import objects

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A kind of objects in one version; `group` is "" for core. `type` is what its objects become here."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    type: type[T]

    @property
    def api_version(self) -> str:
        """`apiVersion` as objects spell it: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """URL path below the server's address; without a namespace, that of all namespaces.

        Kubernetes: "API concepts", resource URIs. Every part is percent-encoded.
        """
        parts = [self.group, self.version] if self.group else [self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, *subresource.split("/")) if part]
        return f"/{'apis' if self.group else 'api'}/" + "/".join(quote(part, safe=":") for part in parts)


SERVICE = Kind("", "v1", "services", "Service", True, objects.Service)
ENDPOINTS = Kind("", "v1", "endpoints", "Endpoints", True, objects.Endpoints)
ENDPOINT_SLICE = Kind(
    "discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", True, objects.EndpointSlice
)
ENDPOINT_SLICE_V1BETA1 = Kind(
    "discovery.k8s.io", "v1beta1", "endpointslices", "EndpointSlice", True, objects.EndpointSlice
)
"""Kubernetes 1.17 to 1.24."""
POD = Kind("", "v1", "pods", "Pod", True, objects.Pod)
NODE = Kind("", "v1", "nodes", "Node", False, objects.Node)
NAMESPACE = Kind("", "v1", "namespaces", "Namespace", False, objects.Namespace)
SECRET = Kind("", "v1", "secrets", "Secret", True, objects.Secret)
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap", True, objects.ConfigMap)
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease", True, objects.Lease)


def untyped(
    group: str, version: str, plural: str, kind: str, *, namespaced: bool = True
) -> Kind[dict[str, Any]]:
    """A kind whose objects stay whole, as plain JSON objects: for those who write."""
    return Kind(group, version, plural, kind, namespaced, dict[str, Any])
