"""What can be wrong with a stream."""

from isthmus.xds.grpc_status import CallFailed, Status


class ProtocolError(CallFailed):
    """A proxy broke the protocol. Its stream ends with INVALID_ARGUMENT; nobody else is touched."""

    def __init__(self, reason: str) -> None:
        super().__init__(Status.INVALID_ARGUMENT, reason)
