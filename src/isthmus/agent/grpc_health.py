"""A call of grpc.health.v1.Health/Check, as the kubelet makes it (Kubernetes: gRPC probes): in plain text."""

import asyncio

from isthmus.agent.errors import CallRefusedError
from isthmus.agent.grpc_call import Call, make_call
from isthmus.lib.protobuf import read_fields, text

_PATH = "/grpc.health.v1.Health/Check"
_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_SERVING = 1


async def check_health(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str, service: str
) -> str | None:
    """None where the service is SERVING, else what it answered. OSError, EOFError: no HTTP/2 was spoken."""
    message = text(1, service) if service else b""
    call = Call(_PATH, authority, message, user_agent="kube-probe/isthmus")
    try:
        status = dict(read_fields(await make_call(reader, writer, call))).get(1, 0)
    except CallRefusedError as refusal:
        return f"the gRPC server refused the call: {refusal}"
    if status == _SERVING:
        return None
    named = isinstance(status, int) and status < len(_STATUSES)
    return f"the gRPC server says {_STATUSES[int(status)] if named else 'no status that is known'}"
