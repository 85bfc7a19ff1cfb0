"""Methods that answer one message with one: an async function behind the `Handler` seam.

A call has until its `grpc-timeout`, at most the listener's own limit, from its headers on; of calls beyond
`at_once` the rest is refused. A caller that goes away takes its call's work with it.
Source: gRPC over HTTP2, "Requests" (Timeout).
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from isthmus.lib.lifecycle import TaskScope, task_scope
from isthmus.xds.grpc_request import timeout_of
from isthmus.xds.grpc_status import CallFailed, Status
from isthmus.xds.h2_call import Call, End, Handler

log = structlog.get_logger()

Answer = Callable[[bytes, Call], Awaitable[bytes]]
"""Answers a request. Raises CallFailed. Who asks is in `Call.identity` and `Call.peer`."""


@dataclass(frozen=True, slots=True)
class UnaryLimits:
    """What a method allows. `timeout` (seconds) holds where the caller names none or a longer one."""

    at_once: int = 256
    timeout: float = 10.0


class _UnaryCall:
    """A `h2_call.Service`."""

    __slots__ = ("_answer", "_asked", "_call", "_method", "_work")

    def __init__(self, method: "_Method", call: Call) -> None:
        self._method = method
        self._call = call
        self._asked: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answer: bytes | None = None
        self._work = method.tasks.spawn(self._serve(), name="grpc-unary")

    async def _serve(self) -> None:
        """Whatever fails in this ends the call alone."""
        call = self._call
        try:
            async with asyncio.timeout(min(timeout_of(call.request.headers), self._method.limits.timeout)):
                self._answer = await self._method.answer(await self._asked, call)
            call.wake()
        except CallFailed as failure:
            call.finish(failure.status, failure.reason)
        except TimeoutError:
            call.finish(Status.DEADLINE_EXCEEDED, "the call took too long")
        except Exception:
            log.exception("a call failed", path=call.request.path, peer=call.peer)
            call.finish(Status.INTERNAL, "internal error")

    def receive(self, message: bytes) -> None:
        """See `Service`."""
        if self._asked.done():
            raise CallFailed(Status.INVALID_ARGUMENT, "the method takes one message")
        self._asked.set_result(message)

    def half_closed(self) -> None:
        """See `Service`."""
        if not self._asked.done():
            self._call.finish(Status.INVALID_ARGUMENT, "the call has no message")

    def take(self) -> bytes | None:
        """See `Service`. The call ends when its answer is written."""
        if self._answer is None:
            return None
        answer, self._answer = self._answer, None
        self._call.finish(Status.OK)
        return answer

    def closed(self, end: End) -> None:
        """See `Service`."""
        self._method.calls -= 1
        self._work.cancel()


class _Method:
    """One method's answer, limits and calls."""

    def __init__(self, answer: Answer, limits: UnaryLimits, tasks: TaskScope) -> None:
        self.answer = answer
        self.limits = limits
        self.tasks = tasks
        self.calls = 0

    def __call__(self, call: Call) -> _UnaryCall:
        """A `Handler`."""
        if self.calls >= self.limits.at_once:
            raise CallFailed(Status.RESOURCE_EXHAUSTED, f"{self.calls} calls of this method are under way")
        self.calls += 1
        return _UnaryCall(self, call)


@asynccontextmanager
async def answering(answer: Answer, limits: UnaryLimits = UnaryLimits()) -> AsyncGenerator[Handler]:
    """What serves a unary method by `answer`, until the block ends."""
    async with task_scope() as tasks:
        yield _Method(answer, limits, tasks)
