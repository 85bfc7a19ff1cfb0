"""The end of a pod: Envoy tells its clients to go elsewhere, and is given a moment to let them."""

import asyncio

import structlog

from isthmus.agent.admin import Admin, parse_stats
from isthmus.agent.errors import AdminUnreachableError

logger = structlog.get_logger()

DRAIN = "/drain_listeners?graceful&skip_exit"
"""Graceful: new connections are accepted, answers ask clients to leave. skip_exit: listeners stay open."""
CONNECTIONS = "/stats?filter=^listener\\..*downstream_cx_active$"
QUIET_SECONDS = 1.0
"""Without connections for so long, nobody is about to send more: endpoints reach every proxy sooner."""
_POLL_SECONDS = 0.25
_OWN_LISTENERS = ("listener.admin.", "listener.health.", "listener.prometheus.")


async def drain(admin: Admin, seconds: float) -> None:
    """Drain Envoy for at most `seconds`; sooner when it has been without connections for QUIET_SECONDS.

    An Envoy that does not answer has nothing to drain. Never raises AdminUnreachableError.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    busy_at = loop.time()
    active = 0
    try:
        await admin.post(DRAIN)
        while loop.time() < deadline:
            active = active_connections(await admin.get(CONNECTIONS))
            if active:
                busy_at = loop.time()
            elif loop.time() - busy_at >= QUIET_SECONDS:
                break
            await asyncio.sleep(min(_POLL_SECONDS, deadline - loop.time()))
    except AdminUnreachableError as error:
        logger.info("Envoy cannot be drained", reason=str(error))
        return
    logger.info("Envoy is drained", connections_left=active)


def active_connections(stats: str) -> int:
    """Connections of clients, of the application's too; probes and scrapes do not count.

    Envoy counts a listener's connections in total and by worker; only the total is taken.
    """
    return sum(
        value
        for name, value in parse_stats(stats).items()
        if name.startswith("listener.")
        and name.endswith(".downstream_cx_active")
        and not name.startswith(_OWN_LISTENERS)
        and ".worker_" not in name
    )
