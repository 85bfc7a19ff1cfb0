"""gRPC's side of policy: the only module here that knows `grpc.aio`. Messages pass as bytes.

Calls beyond the limit are refused at once (RESOURCE_EXHAUSTED), and one whose deadline passed is cancelled by
gRPC: what Envoy then does is its `failure_mode_allow`.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from grpc import aio

from isthmus.lib.address import HostPort
from isthmus.lib.errors import UserError
from isthmus.policy.checks import Method
from isthmus.policy.errors import Malformed

_Context = aio.ServicerContext[bytes, bytes]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What a listener allows. Times in seconds; `grace` is how long calls may take to end as it closes."""

    calls: int = 1000
    message_bytes: int = 1024 * 1024
    metadata_bytes: int = 16 * 1024
    keepalive: float = 30.0
    grace: float = 5.0


@dataclass(frozen=True, slots=True)
class Secure:
    """How clients prove who they are; `admits` judges the names in a certificate under the mesh's roots."""

    credentials: grpc.ServerCredentials
    admits: Callable[[tuple[bytes, ...]], bool]


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, methods: Mapping[str, Method], secure: "Secure | None") -> None:
        self._handlers = {name: _handler(method, secure) for name, method in methods.items()}

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        return self._handlers.get(handler_call_details.method)


def _handler(method: Method, secure: "Secure | None") -> "grpc.RpcMethodHandler[Any, Any]":
    async def serve(message: bytes, context: _Context) -> bytes:
        if secure is not None and not secure.admits(tuple(context.peer_identities() or ())):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "only proxies of the mesh are answered")
        try:
            return await method(message, context.invocation_metadata() or ())
        except Malformed as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error)[:500])

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(serve)
    return handler


@asynccontextmanager
async def serving_policy(
    address: HostPort,
    methods: Mapping[str, Method],
    limits: ServerLimits = ServerLimits(),
    *,
    secure: Secure | None = None,
    option: str = "--grpc-address",
) -> AsyncGenerator[int]:
    """Serve unary methods, in plain text unless `secure`; yields the port. Ends by letting open calls end.

    Raises UserError when the address cannot be bound.
    """
    server = aio.server(
        maximum_concurrent_rpcs=limits.calls,
        options=(
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", limits.message_bytes),
            ("grpc.max_metadata_size", limits.metadata_bytes),
            ("grpc.keepalive_time_ms", int(limits.keepalive * 1000)),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ),
    )
    server.add_generic_rpc_handlers((_Handlers(methods, secure),))
    try:
        if secure is None:
            port = server.add_insecure_port(str(address))
        else:
            port = server.add_secure_port(str(address), secure.credentials)
    except RuntimeError as error:
        raise UserError(
            f"Cannot listen for policy checks on {address}: {error}. Choose another {option}."
        ) from None
    await server.start()
    try:
        yield port
    finally:
        await server.stop(limits.grace)
