"""`isthmus agent wait`: the hook that holds the application back until its sidecar is ready."""

import asyncio
import os
import sys
from typing import NoReturn

from isthmus.agent.admin import AdminClient
from isthmus.agent.errors import AdminUnreachableError
from isthmus.agent.settings import read_settings
from isthmus.agent.static_resources import HEALTH_PATH
from isthmus.lib.errors import UserError

_INTERVAL = 0.2


async def wait_until_ready(port: int, seconds: float) -> None:
    """Return when the agent on that port is ready; UserError with its last reason after `seconds`."""
    agent = AdminClient(port)
    reason = "it has not answered yet"
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    await agent.get(HEALTH_PATH)
                    return
                except AdminUnreachableError as error:
                    reason = str(error)
                await asyncio.sleep(_INTERVAL)
    except TimeoutError:
        raise UserError(
            f"The sidecar is not ready after {seconds:g} seconds: {reason}; see the log of istio-proxy."
        ) from None


def main(seconds: float) -> NoReturn:
    """Wait in the agent's own container; exit code 0 when it is ready, 1 when it was not in time."""
    try:
        asyncio.run(wait_until_ready(read_settings(os.environ).proxy.status_port, seconds))
    except UserError as error:
        print(f"isthmus: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    sys.exit(0)
