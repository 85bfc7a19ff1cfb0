"""`python -m isthmus.lab.prober URL`: asks one server again and again, and says at once who answered.

It runs inside a pod and asks over one kept connection, each time PAUSE_SECONDS (0.002) after the last answer,
for which it waits PATIENCE_SECONDS (5).
For each answer it prints one JSON line: `at` (CLOCK_MONOTONIC, which all processes of a machine share, in
seconds, when the answer was read), and `who` (`CLUSTER/NAMESPACE/POD` of the echo application) or `failed`.
Like curl, it asks once more on a new connection where a kept one was closed before any byte of the answer.
"""

import http.client
import json
import os
import sys
import time
from urllib.parse import urlsplit


class Prober:
    """One connection to one URL. `patience` is in seconds."""

    def __init__(self, url: str, patience: float) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port or 80, timeout=patience
        )
        self._path = parts.path or "/"

    def ask(self) -> dict[str, object]:
        """One question and its answer, as it is to be printed."""
        fresh = self._connection.sock is None
        try:
            try:
                answer = self._exchange()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                if fresh:
                    raise
                self._connection.close()
                answer = self._exchange()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()
            answer = {"failed": f"{type(error).__name__}: {error}"}
        return {"at": time.monotonic(), **answer}

    def _exchange(self) -> dict[str, object]:
        self._connection.request("GET", self._path)
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            return {"failed": f"{response.status} {body.decode(errors='replace').strip()}"}
        said = json.loads(body)
        return {"who": f"{said['cluster']}/{said['namespace']}/{said['pod']}"}


def main() -> None:
    """Ask until nobody reads the answers any more."""
    prober = Prober(sys.argv[1], float(os.environ.get("PATIENCE_SECONDS", "5")))
    pause = float(os.environ.get("PAUSE_SECONDS", "0.002"))
    try:
        while True:
            print(json.dumps(prober.ask()), flush=True)
            time.sleep(pause)
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(0)


if __name__ == "__main__":
    main()
