"""A cluster's state as bytes and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.clusters.difference import difference
from isthmus.clusters.snapshot import SnapshotRefused, digest, encode, pack, restore, unpack
from isthmus.clusters.store import ClusterStore
from isthmus.kube.decoding import Ref
from isthmus.model.service import Network
from isthmus.model.view import Changes
from isthmus.model.workload import Health, Locality
from tests.clusters.building import backend, pod, service, slice_of, store_of


def full() -> ClusterStore:
    store = store_of()
    store.identity = "uid"
    store.put_network(Network("blue"))
    store.put_node("n1", Locality("r", "z"))
    store.put_service(service())
    store.put_service(service("db", selector={}))
    for index in range(5):
        store.put_pod(pod(f"echo-{index}", f"10.0.0.{index + 1}", labels={"app": "echo"}))
    backends = [backend(f"10.0.0.{index + 1}", f"echo-{index}", node="n1") for index in range(4)]
    store.put_slice(Ref("demo", "a"), slice_of("echo", *backends))
    store.put_slice(Ref("demo", "b"), slice_of("echo", backend("10.0.0.5", "echo-4", Health.DRAINING)))
    return store


def test_a_store_comes_back_as_it_was():
    before, after = full(), store_of()
    content = encode(before)
    restore(unpack(b"".join(pack(content)), digest(content)), after)
    assert difference(before, after) == Changes()
    assert (after.identity, after.network, dict(after.nodes)) == ("uid", "blue", dict(before.nodes))
    assert encode(after) == content, "equal content has equal bytes"


@given(st.data())
def test_whatever_was_damaged_is_refused_as_a_whole(data: st.DataObject):
    content = encode(full())
    packed = bytearray(b"".join(pack(content)))
    at = data.draw(st.integers(0, len(packed) - 1))
    if data.draw(st.booleans()):
        del packed[at:]
    else:
        packed[at] ^= data.draw(st.integers(1, 255))
    try:
        found = unpack(bytes(packed), digest(content))
    except SnapshotRefused:
        return
    assert found == content, "only a header that says nothing may differ"


@pytest.mark.parametrize("content", [b"", b"\xc0", b"\x93\x01\x02\x03", b"not msgpack at all"])
def test_what_is_no_state_is_refused(content: bytes):
    with pytest.raises(SnapshotRefused):
        restore(content, store_of())
