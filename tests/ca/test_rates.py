import pytest

from isthmus.ca.memory import Memory
from isthmus.ca.rates import Rate, host_of


def test_a_burst_then_one_at_a_time() -> None:
    rate = Rate(3, 0.5)
    assert [rate.take("a", 100.0) for _ in range(4)] == [True, True, True, False]
    assert not rate.has("a", 101.0)
    assert rate.take("a", 102.0)
    assert not rate.take("a", 102.0)
    assert rate.take("b", 102.0)
    assert [rate.take("a", 1000.0) for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("peer", "host"),
    [("ipv4:10.0.0.1:4711", "ipv4:10.0.0.1"), ("ipv6:%5B::1%5D:4711", "ipv6:%5B::1%5D"), ("unix", "unix")],
)
def test_a_peers_port_does_not_count(peer: str, host: str) -> None:
    assert host_of(peer) == host


def test_a_memory_forgets_with_time_and_for_lack_of_room() -> None:
    memory: Memory[int] = Memory(2)
    memory.put(b"a", 1, until=10.0)
    memory.put(b"b", 2, until=20.0)
    assert memory.get(b"a", 9.9) == 1
    memory.put(b"c", 3, until=20.0)
    assert memory.get(b"b", 9.9) is None
    assert memory.get(b"a", 10.0) is None
    assert memory.get(b"c", 10.0) == 3
    assert len(memory) == 1
