"""Runs in a pod: answers every HTTP/2 request, without an upgrade, as the demonstration's `echo` does."""

import asyncio
import json
import os

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

ANSWER = json.dumps({"cluster": os.environ["CLUSTER"], "namespace": "demo", "pod": "h2-echo"}).encode()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    peer = H2Connection(H2Configuration(client_side=False))
    peer.initiate_connection()
    writer.write(peer.data_to_send())
    while data := await reader.read(65536):
        for event in peer.receive_data(data):
            if isinstance(event, RequestReceived):
                peer.send_headers(event.stream_id, [(":status", "200")])
                peer.send_data(event.stream_id, ANSWER, end_stream=True)
        writer.write(peer.data_to_send())
    writer.close()


async def main() -> None:
    async with await asyncio.start_server(serve, "0.0.0.0", 8080) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
