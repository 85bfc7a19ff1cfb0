"""The few protobuf shapes that every module here builds, and joining of messages already serialised.

Serialised messages of one type concatenate into their merge (Protocol Buffers encoding, "Last One Wins"), so
a large message is made of parts that are serialised once and remembered.
"""

from datetime import timedelta
from hashlib import blake2b

from envoy.config.core.v3 import address_pb2, config_source_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

NO_TIME = Duration()
_PREFIX = "type.googleapis.com/"


def serialise(message: Message) -> bytes:
    """The message's bytes, the same for equal content in every process."""
    return message.SerializeToString(deterministic=True)


def version_of(body: bytes) -> str:
    """A short digest of a resource's bytes: equal content, equal version."""
    return blake2b(body, digest_size=8).hexdigest()


def pack(message: Message) -> Any:
    """The message as `Any`."""
    return Any(type_url=_PREFIX + message.DESCRIPTOR.full_name, value=serialise(message))


def duration(length: timedelta) -> Duration:
    """Protobuf's duration, to the microsecond."""
    return Duration(seconds=length.days * 86_400 + length.seconds, nanos=length.microseconds * 1000)


def socket_address(address: str, port: int) -> address_pb2.Address:
    """An IP address and TCP port."""
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=address, port_value=port))


def from_ads() -> config_source_pb2.ConfigSource:
    """Where Envoy finds what a resource names: the same stream, however long it takes."""
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(),
        initial_fetch_timeout=NO_TIME,
        resource_api_version=config_source_pb2.ApiVersion.Value("V3"),
    )
