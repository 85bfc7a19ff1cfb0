import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from google.protobuf.any_pb2 import Any
from hypothesis import given
from hypothesis import strategies as st

from isthmus.lib.protobuf_template import Template, Templates
from isthmus.translate.wire import pack

# From one byte to more than 128: lengths of one and of two bytes, and strings that look like fields or marks.
TEXTS = st.one_of(
    st.sampled_from(["a", "*.a", "\n\x02ab", "\x070", "name-" * 40]),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=300),
)


def specimen(strings: list[str]) -> cluster_pb2.Cluster:
    """Marks alone and within text, twice, in messages, in an Any, and beside every sort of number."""
    name, host, *names = strings
    cluster = cluster_pb2.Cluster(name=f"outbound|80||{name}.{host}", alt_stat_name=name)
    cluster.connect_timeout.seconds = 300
    cluster.common_lb_config.healthy_panic_threshold.value = 12.5
    cluster.eds_cluster_config.service_name = f"*.{host}"
    cluster.metadata.filter_metadata["istio"]["host"] = f"{name}/{host}"
    cluster.upstream_bind_config.source_address.port_value = 15001
    inner = Any(value=base_pb2.Node(id=host, cluster=name).SerializeToString(), type_url="a")
    cluster.transport_socket.CopyFrom(base_pb2.TransportSocket(typed_config=pack(inner)))
    cluster.alt_stat_name += "".join(names)
    return cluster


def test_bytes_are_those_of_protobuf_whatever_is_filled_in() -> None:
    templates = Templates()

    @given(TEXTS, TEXTS, st.lists(TEXTS, max_size=2))
    def alike(name: str, host: str, names: list[str]) -> None:
        strings = [name, host, *names]
        filled = templates.fill(len(names), strings, lambda some: specimen(list(some)))
        assert filled == specimen(strings).SerializeToString(deterministic=True)

    alike()


def test_a_specimen_is_built_once_a_kind() -> None:
    built: list[int] = []
    templates = Templates()
    for kind, strings in ((1, ["a", "b"]), (1, ["cc", "d"]), (2, ["a", "b"]), (1, ["e", "f"])):
        templates.fill(kind, strings, lambda some: built.append(0) or specimen(list(some)))
    assert len(built) == 2


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(ValueError, match="not a serialised message"):
        Template(b"\x07")
