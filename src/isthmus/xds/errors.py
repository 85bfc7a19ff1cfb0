"""What can be wrong with a stream."""


class ProtocolError(Exception):
    """A proxy broke the protocol. End its stream with INVALID_ARGUMENT and `str(error)`; nobody else is
    touched.
    """
