"""A stand-in for Envoy's executable, run as a script: reads its bootstrap, serves an admin, obeys SIGTERM.

Its folder is its control panel: `stats` is what it answers, `requests` what it was asked; `crash`, which
holds an exit code, ends it.
"""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONFIG = Path(sys.argv[sys.argv.index("--config-path") + 1])
PANEL = CONFIG.parent


class Admin(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer((PANEL / "stats").read_text())

    def do_POST(self) -> None:
        self._answer("OK\n")

    def _answer(self, text: str) -> None:
        with (PANEL / "requests").open("a") as log:
            log.write(f"{self.command} {self.path}\n")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Write no access log."""


def _end(number: int, frame: object) -> None:
    os._exit(0)


def main() -> None:
    admin = json.loads(CONFIG.read_text())["admin"]["address"]["socket_address"]["port_value"]
    server = ThreadingHTTPServer(("127.0.0.1", admin), Admin)
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (PANEL / "pid").write_text(str(os.getpid()))
    crash = PANEL / "crash"
    while not crash.exists():
        threading.Event().wait(0.02)
    os._exit(int(crash.read_text()))


main()
