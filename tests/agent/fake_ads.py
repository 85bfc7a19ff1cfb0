"""The smallest control plane: over incremental ADS it says that there is nothing, and keeps the stream."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse


async def _stream(requests: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
    async for body in requests:
        request = DeltaDiscoveryRequest.FromString(body)
        if not request.response_nonce:
            answer = DeltaDiscoveryResponse(type_url=request.type_url, nonce=request.type_url)
            yield answer.SerializeToString()


class _Ads(grpc.GenericRpcHandler):
    """Passes bytes: requests are not decoded, answers not encoded, by gRPC."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.stream_stream_rpc_method_handler(_stream)


@asynccontextmanager
async def serving_empty_mesh() -> AsyncGenerator[int]:
    """Serve on loopback until the block ends; gives the port."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Ads(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)
