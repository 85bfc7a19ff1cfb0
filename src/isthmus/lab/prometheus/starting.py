"""`isthmus lab up --prometheus`: started in the hub, where `isthmus lab down` finds all that lives there."""

import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from isthmus.lab.network import inside
from isthmus.lab.plan import HUB_NETNS, STATE, host_interfaces
from isthmus.lib.errors import UserError

PORT = 9090
FOLDER = STATE / "prometheus"
_PATIENCE = 30.0
_LOOK_EVERY = 0.1
_LAST_WORDS = 2000


def find_prometheus() -> str:
    """The program. UserError where it is not installed."""
    found = shutil.which("prometheus")
    if found is None:
        raise UserError("There is no Prometheus on this machine; run `apt-get install prometheus`.")
    return found


def prometheus_url() -> str:
    """Where it answers, from the host and from pods."""
    return f"http://{host_interfaces()[1].ip}:{PORT}"


def start_prometheus() -> None:
    """Start it for the lab that is up, and wait until it is ready; does nothing where it runs.

    UserError with its last words where it ends first, or is not ready in time.
    """
    program = find_prometheus()
    if _is_ready():
        return
    FOLDER.mkdir(mode=0o755, exist_ok=True)
    log = FOLDER / "prometheus.log"
    with log.open("ab") as output:
        child = subprocess.Popen(
            inside(HUB_NETNS, [sys.executable, "-m", "isthmus.lab.prometheus", program]),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
        )
    deadline = time.monotonic() + _PATIENCE
    while not _is_ready():
        if child.poll() is not None or time.monotonic() > deadline:
            child.kill()
            child.wait()
            raise UserError(f"Prometheus does not come up. Its last words:\n{_end_of(log)}")
        time.sleep(_LOOK_EVERY)


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-_LAST_WORDS:]


def _is_ready() -> bool:
    try:
        with urllib.request.urlopen(f"{prometheus_url()}/-/ready", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False
