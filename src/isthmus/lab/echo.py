"""`python -m isthmus.lab.echo`: an HTTP/1.1 server that says who answered, for the lab's demonstrations.

Its answer to any request is JSON: `cluster`, `namespace`, `pod`, `serviceAccount` (all from the environment:
CLUSTER, NAMESPACE, POD, SERVICE_ACCOUNT) and the request's `headers`. It listens on PORT (8080).
At SIGTERM it goes on answering for DRAIN_SECONDS (1), closing each connection that it answers on: by then
nobody sends it anything new, and no request is lost.
"""

import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType

_WHO = {
    "cluster": "CLUSTER",
    "namespace": "NAMESPACE",
    "pod": "POD",
    "serviceAccount": "SERVICE_ACCOUNT",
}
_LARGEST_BODY = 1 << 20


class EchoHandler(BaseHTTPRequestHandler):
    """Answers every request of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def answer(self) -> None:
        """Read what the request carries, and say who we are."""
        length = int(self.headers.get("Content-Length", 0))
        if length > _LARGEST_BODY:
            self.send_error(413)
            return
        self.rfile.read(length)
        who = {field: os.environ.get(variable, "") for field, variable in _WHO.items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({**who, "headers": headers}).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if STOPPING.is_set():
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's signature
        """Say nothing: thousands of requests come in."""


STOPPING = threading.Event()


class EchoServer(ThreadingHTTPServer):
    """One thread a connection; none of them keeps the process alive."""

    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    """Serve until SIGTERM, and a moment longer."""
    server = EchoServer(("", int(os.environ.get("PORT", "8080"))), EchoHandler)

    def drain(number: int, frame: FrameType | None) -> None:
        STOPPING.set()
        threading.Timer(float(os.environ.get("DRAIN_SECONDS", "1")), server.shutdown).start()

    signal.signal(signal.SIGTERM, drain)
    signal.signal(signal.SIGINT, drain)
    server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
