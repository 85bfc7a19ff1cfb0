"""Services that clients reach in their own cluster only (Istio: cluster-local services)."""

from collections.abc import Iterable, Mapping

import msgspec

from isthmus.model.service import ServiceKey

_DEFAULTS = ("*.kube-system.svc.cluster.local", "kubernetes.default.svc.cluster.local")
"""What belongs to a cluster itself: its API server's service above all, which no other can stand in for."""


class Settings(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Of the hosts beside it. `cluster_local`: no endpoints of other clusters serve them."""

    cluster_local: bool = False


class ServiceSettings(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Settings for services by their full names; `*.` before a suffix means all that end so, `*` all."""

    settings: Settings = Settings()
    hosts: tuple[str, ...] = ()


class ClusterLocalServices:
    """What an operator said (MeshConfig `serviceSettings`) on top of Istio's defaults.

    A host that is said not to be cluster-local takes the default along that covers it, as in Istio.
    """

    def __init__(self, said: Iterable[ServiceSettings] = ()) -> None:
        hosts = {host: one.settings.cluster_local for one in said for host in one.hosts}
        shared = [host for host, local in hosts.items() if not local]
        defaults = {each: True for each in _DEFAULTS if not any(_covers(each, host) for host in shared)}
        self._hosts: Mapping[str, bool] = defaults | hosts

    def __contains__(self, service: ServiceKey) -> bool:
        """Whether it is; the most specific host that means it decides."""
        name = service.hostname()
        if name in self._hosts:
            return self._hosts[name]
        while name:
            _, _, name = name.partition(".")
            if (found := self._hosts.get(f"*.{name}")) is not None:
                return found
        return self._hosts.get("*", False)


def _covers(pattern: str, host: str) -> bool:
    return host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:]))
