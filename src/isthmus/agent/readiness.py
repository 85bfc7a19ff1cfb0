"""Whether this pod may be sent traffic."""

from collections.abc import Callable, Mapping

from isthmus.agent.admin import Admin, parse_stats
from isthmus.agent.errors import AdminUnreachableError

CONFIGURATION_STATS = (
    "/stats?filter=^(cluster_manager.cds.update_success|listener_manager.lds.update_success"
    "|listener_manager.workers_started|server.state)$"
)
_LIVE = 0
"""`server.state` (envoy.admin.v3.ServerInfo.State)."""


class Readiness:
    """Ready once Envoy has its configuration; from then on as long as Envoy is live; never while draining.

    `pending` says what the agent itself waits for, which may be why Envoy has no configuration.
    """

    def __init__(self, admin: Admin, pending: Callable[[], str | None]) -> None:
        self._admin = admin
        self._pending = pending
        self._configured = False
        self._draining = False

    def drain(self) -> None:
        """Unready for good: the pod is going."""
        self._draining = True

    async def why_unready(self) -> str | None:
        """None when ready, else one line for whoever reads the probe's failure."""
        if self._draining:
            return "draining"
        try:
            if self._configured:
                await self._admin.get("/ready")
                return None
            reason = missing_configuration(parse_stats(await self._admin.get(CONFIGURATION_STATS)))
        except AdminUnreachableError as error:
            reason = f"Envoy's admin does not say that it is live: {error}"
            if self._configured:
                return reason
        self._configured = reason is None
        return None if reason is None else "; ".join(filter(None, (self._pending(), reason)))


def missing_configuration(stats: Mapping[str, int]) -> str | None:
    """What Envoy still waits for, by its statistics; None when it serves what the control plane sent."""
    if not stats.get("cluster_manager.cds.update_success"):
        return "no clusters from the control plane yet"
    if not stats.get("listener_manager.lds.update_success"):
        return "no listeners from the control plane yet"
    if not stats.get("listener_manager.workers_started"):
        return "Envoy's workers have not started"
    if stats.get("server.state", -1) != _LIVE:
        return "Envoy is not live"
    return None
