"""A proxy that holds the endpoints of one Envoy cluster, as Envoy does: what it has it keeps until it is told
otherwise, also while it has no control plane.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from grpc import aio

from isthmus.lib.lifecycle import task_scope
from isthmus.model.resources import ENDPOINT
from tests.scenarios.mesh import ECHO, ads

_AGAIN = 0.05


class Follower:
    """Made with `following`, its work is done by one task; `told` is called with all that it is told."""

    def __init__(self) -> None:
        self.held: frozenset[str] = frozenset()
        self.responses = 0
        self.told: Callable[[frozenset[str]], None] = lambda held: None
        self._address = ""
        self._changed = asyncio.Event()

    def lead_to(self, port: int) -> None:
        """Where the control plane is from now on."""
        self._address = f"127.0.0.1:{port}"

    async def until(self, right: Callable[[frozenset[str]], bool], within: float) -> None:
        """Wait until what is held is right; fails after `within` seconds."""
        try:
            async with asyncio.timeout(within):
                while not right(self.held):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"after {within:g} s a proxy holds {sorted(self.held)}") from None

    @asynccontextmanager
    async def following(self) -> AsyncGenerator[None]:
        async with task_scope() as scope:
            scope.serve(self._follow(), name="follow")
            yield

    async def _follow(self) -> None:
        while True:
            if self._address:
                with suppress(aio.AioRpcError):
                    await self._stream(self._address)
            await asyncio.sleep(_AGAIN)

    async def _stream(self, address: str) -> None:
        async with aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = ads(channel)()
            request = DiscoveryRequest(type_url=ENDPOINT, resource_names=[ECHO])
            request.node.id = "sidecar~10.0.0.9~client.demo~demo.svc.cluster.local"
            request.node.metadata["CLUSTER_ID"] = "west"
            await call.write(request.SerializeToString())
            while isinstance(message := await call.read(), bytes):
                response = DiscoveryResponse.FromString(message)
                self._take(response)
                request.version_info, request.response_nonce = response.version_info, response.nonce
                await call.write(request.SerializeToString())

    def _take(self, response: DiscoveryResponse) -> None:
        (resource,) = response.resources
        assignment = ClusterLoadAssignment.FromString(resource.value)
        self.held = frozenset(
            one.endpoint.address.socket_address.address
            for locality in assignment.endpoints
            for one in locality.lb_endpoints
        )
        self.responses += 1
        self.told(self.held)
        self._changed.set()
