"""Follows the control plane's workload feed: delta ADS, one wildcard subscription, resumed by versions.

A stream that ends is opened anew, with back-off; the last good state stays meanwhile. A pod that cannot be
read is refused by name (a NACK), and the others are taken.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NoReturn

import structlog
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.protobuf.message import DecodeError
from grpc import aio

from isthmus.config.workload_feed import TYPE_URL
from isthmus.lib.backoff import Backoff
from isthmus.policy.workloads import WorkloadIndex

_log = structlog.get_logger(__name__)
_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_END = "end"
"""No pod's name: that it does not exist is told with the last of all that was asked for."""
_INVALID_ARGUMENT = 3
_MOST_KNOWN = 30_000
"""Pods of which a new stream tells the versions; of more it asks everything: a request has its limit."""
_FIRST_ANSWER = 30.0
"""Seconds in which a control plane answers a new stream; one that is silent for longer is tried anew."""


@dataclass(frozen=True, slots=True)
class Dialled:
    """A channel to the control plane, and the metadata that proves who calls."""

    channel: aio.Channel
    metadata: tuple[tuple[str, str], ...] = ()


Dial = Callable[[], AbstractAsyncContextManager[Dialled]]
"""Opens a channel with the credentials of this moment. Raises OSError where they cannot be read."""


class PilotFeed:
    """Keeps an index as the control plane has it. `node` is the Node's id: `KIND~IP~POD.NAMESPACE~DOMAIN`."""

    def __init__(self, dial: Dial, index: WorkloadIndex, *, node: str) -> None:
        self.tried = asyncio.Event()
        """Set once the feed was read in whole, or the first attempt failed."""
        self.error = ""
        """Why the feed is not followed now; "" while it is."""
        self.heard_at = 0.0
        """When the control plane was last heard, Unix seconds; 0.0 for never."""
        self.index = index
        self._dial = dial
        self._node = Node(id=node)
        self._backoff = Backoff(initial=0.2, cap=15.0)

    async def follow(self) -> NoReturn:
        """Until cancelled."""
        while True:
            try:
                async with self._dial() as dialled:
                    await self._exchange(dialled)
                reason = "the control plane ended the stream"
            except aio.AioRpcError as error:
                reason = f"{error.code().name}: {error.details() or 'no reason was given'}"
            except TimeoutError:
                reason = f"the control plane did not answer within {_FIRST_ANSWER:g} s"
            except (OSError, DecodeError) as error:
                reason = str(error) or type(error).__name__
            if self.error != reason:
                _log.warning("workload feed is lost; the last state stays", reason=reason)
            self.error = reason
            self.tried.set()
            await asyncio.sleep(self._backoff.next_delay())

    async def _exchange(self, dialled: Dialled) -> None:
        """One stream, until it ends."""
        method: aio.StreamStreamMultiCallable[bytes, bytes] = dialled.channel.stream_stream(_METHOD)
        stream = method(metadata=aio.Metadata(*dialled.metadata))
        try:
            resumes = 0 < len(self.index.versions) <= _MOST_KNOWN
            hello = DeltaDiscoveryRequest(
                node=self._node,
                type_url=TYPE_URL,
                resource_names_subscribe=["*", _END],
                initial_resource_versions=self.index.versions if resumes else None,
            )
            await stream.write(hello.SerializeToString())
            responses = aiter(stream)
            async with asyncio.timeout(_FIRST_ANSWER):
                first = await anext(responses, None)
            if first is None:
                return
            named = set[str]()
            ended = await self._take(stream, first, named)
            while not ended and (response := await anext(responses, None)) is not None:
                ended = await self._take(stream, response, named)
            if not ended:
                return
            if not resumes:
                for name in self.index.versions.keys() - named:
                    self.index.remove(name)
            self._followed()
            async for response in responses:
                await self._take(stream, response, set())
        finally:
            stream.cancel()

    def _followed(self) -> None:
        """All there is was read."""
        if self.error or not self.tried.is_set():
            _log.info("workload feed is followed", workloads=len(self.index.versions))
        self._backoff.reset()
        self.error = ""
        self.tried.set()

    async def _take(
        self, stream: "aio.StreamStreamCall[bytes, bytes]", message: bytes, named: set[str]
    ) -> bool:
        """Put one response into the index, and answer it; what it names joins `named`. Whether all that was
        asked for is told.
        """
        response = DeltaDiscoveryResponse.FromString(message)
        faults = list[str]()
        for one in response.resources:
            named.add(one.name)
            try:
                self.index.put(one.name, one.version, one.resource.value)
            except ValueError as error:
                faults.append(f"{one.name}: {error}")
        for name in response.removed_resources:
            self.index.remove(name)
        answer = DeltaDiscoveryRequest(type_url=TYPE_URL, response_nonce=response.nonce)
        if faults:
            _log.warning("workloads cannot be read", first=faults[0], count=len(faults))
            answer.error_detail.code = _INVALID_ARGUMENT
            answer.error_detail.message = "; ".join(faults)[:4096]
        await stream.write(answer.SerializeToString())
        self.heard_at = time.time()
        return _END in response.removed_resources
