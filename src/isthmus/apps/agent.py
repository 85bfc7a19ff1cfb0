"""The agent's composition root: what runs beside Envoy in istio-proxy, and in which order it starts and ends.

Imported are only parts that every pod of the mesh can afford. The process is `agent_process`.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

import msgspec
import structlog

from isthmus.agent.admin import AdminClient
from isthmus.agent.bootstrap import make_bootstrap
from isthmus.agent.ca_client import CaClient
from isthmus.agent.drain import drain
from isthmus.agent.envoy import envoy_arguments, running_envoy
from isthmus.agent.errors import EnvoyEndedError
from isthmus.agent.identity import Identity, running_identity
from isthmus.agent.metrics import render_metrics
from isthmus.agent.readiness import Readiness
from isthmus.agent.reaper import burying_orphans
from isthmus.agent.sds import (
    CERTIFICATE,
    METHOD,
    ROOTS,
    Secrets,
    SecretStream,
    certificate_secret,
    roots_secret,
    secret_socket,
)
from isthmus.agent.settings import AgentSettings, read_settings
from isthmus.agent.statsd_relay import Relay, relaying
from isthmus.agent.status_server import Status, serving_status
from isthmus.lib.binaries import find_envoy
from isthmus.lib.errors import UserError
from isthmus.lib.lifecycle import stop_signal, task_scope
from isthmus.lib.log import configure_logging
from isthmus.xds.grpc_server import serving_grpc
from isthmus.xds.grpc_status import Status as CallStatus
from isthmus.xds.h2_call import Call
from isthmus.xds.limits import Limits

logger = structlog.get_logger()

_LABELS = Path("/etc/istio/pod/labels")


async def run_agent(settings: AgentSettings, envoy: Path) -> None:
    """Run Envoy until SIGTERM, SIGINT or `POST /quitquitquit`, then drain it.

    EnvoyEndedError when it ended by itself.
    """
    stop = stop_signal()
    admin = AdminClient(settings.proxy.proxy_admin_port)
    async with AsyncExitStack() as stack:
        statsd = settings.proxy.statsd
        relay = None if statsd is None else await stack.enter_async_context(relaying(statsd))
        bootstrap = write_bootstrap(settings, None if relay is None else relay.port)
        secrets = Secrets()
        identity = await stack.enter_async_context(running_identity_for(settings, secrets, relay))
        readiness = Readiness(admin, identity.pending)
        metrics = partial(render_metrics, identity, secrets, relay)
        status = Status(readiness.why_unready, stop.set, settings.app_probes, settings.address, metrics)
        await stack.enter_async_context(
            serving_status(settings.status_hosts, settings.proxy.status_port, status)
        )
        process = await stack.enter_async_context(running_envoy(envoy, envoy_arguments(settings, bootstrap)))
        if os.getpid() == 1:
            await stack.enter_async_context(burying_orphans(process.pid))
        logger.info("Envoy is started", node=settings.node_id, discovery=settings.proxy.discovery_address)
        async with task_scope() as tasks:
            ended = tasks.spawn(process.wait(), name="envoy")
            stopped = tasks.spawn(stop.wait(), name="stop")
            await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not stopped.done():
                raise EnvoyEndedError(ended.result())
            readiness.drain()
            logger.info("draining", seconds=settings.drain_seconds)
            drained = tasks.spawn(drain(admin, settings.drain_seconds), name="drain")
            await asyncio.wait((ended, drained), return_when=asyncio.FIRST_COMPLETED)


@asynccontextmanager
async def running_identity_for(
    settings: AgentSettings, secrets: Secrets, relay: Relay | None
) -> AsyncGenerator[Identity]:
    """The pod's identity, kept valid and handed to Envoy over its socket.

    Statistics get the cluster's name from it where injection named none.
    """
    ca = CaClient(settings.ca, settings.cluster, settings.token_file)

    def hand_over(identity: Identity) -> None:
        if identity.roots is not None:
            secrets.put(ROOTS, roots_secret(identity.roots))
        if identity.certificate is not None:
            secrets.put(CERTIFICATE, certificate_secret(identity.certificate.key, identity.certificate.chain))
        if relay is not None and identity.cluster and not settings.cluster:
            relay.tag = f"cluster:{identity.cluster},".encode()

    def answer(call: Call) -> SecretStream:
        def finish(reason: str) -> None:
            call.finish(CallStatus.INVALID_ARGUMENT if reason else CallStatus.OK, reason)

        return secrets.stream(call.wake, finish)

    with secret_socket(settings.secret_socket) as bound:
        async with (
            serving_grpc(bound, {METHOD: answer}, Limits(drain=0)),
            running_identity(settings.roots_file, ca.request, hand_over) as identity,
        ):
            yield identity


def write_bootstrap(settings: AgentSettings, statsd_port: int | None) -> Path:
    """Write Envoy's bootstrap where it will read it; gives the file."""
    file = Path(settings.proxy.config_path) / "envoy-rev.json"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(make_bootstrap(settings, statsd_port))))
    except OSError as error:
        raise UserError(
            f"Envoy's bootstrap cannot be written to {file}: {error.strerror}; "
            "mount an emptyDir there, writable for user 1337."
        ) from error
    return file


def main() -> NoReturn:
    """Run the agent of this container; the exit code is 0 after SIGTERM, Envoy's own when Envoy ended."""
    configure_logging()
    try:
        labels = _LABELS.read_text() if _LABELS.is_file() else ""
        asyncio.run(run_agent(read_settings(os.environ, labels), find_envoy()))
    except EnvoyEndedError as error:
        logger.error("Envoy ended unexpectedly", reason=str(error))
        sys.exit(error.exit_code)
    except UserError as error:
        print(f"isthmus: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    sys.exit(0)
