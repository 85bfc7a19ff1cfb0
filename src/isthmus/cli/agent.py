"""`isthmus agent`: becomes the agent's own process, so that no pod keeps a command-line library in memory."""

import os
import sys


def agent() -> None:
    """Run Envoy in a pod (what istio-proxy runs); told by the environment that `isthmus inject` writes."""
    os.execv(sys.executable, [sys.executable, "-P", "-m", "isthmus.apps.agent"])
