import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from isthmus.kube.decoding import decode_page
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import CONFIG_MAP, Kind, untyped
from isthmus.kube.objects import ConfigMap, Metadata
from isthmus.kube.reflector import (
    LineBuffer,
    Outdated,
    Reflector,
    Removed,
    Synced,
    Upserted,
    is_older,
    pack_uid,
    unpack_uid,
)

NAMES = st.sampled_from(["a", "b", "c"])


def config_map(name: str, version: int, uid: str = "u", value: str = "") -> dict[str, Any]:
    meta = {"name": name, "namespace": "demo", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": meta, "data": {"v": value}}


def line(change: str, item: dict[str, Any]) -> bytes:
    return json.dumps({"type": change, "object": item}).encode()


def listed(reflector: Reflector[ConfigMap], version: int, *items: dict[str, Any]) -> None:
    reflector.begin_list()
    body = {"items": items, "metadata": {"resourceVersion": str(version)}}
    for batch in decode_page(CONFIG_MAP, json.dumps(body).encode()).batches():
        reflector.take_batch(batch)
    reflector.end_list(str(version))


class Deliveries:
    """A consumer's copy of the collection, strict about what it is told."""

    def __init__(self) -> None:
        self.objects: dict[str, ConfigMap] = {}
        self.told: list[str] = []
        self.reflector = Reflector(CONFIG_MAP, self.take)

    def take(self, event: Upserted[ConfigMap] | Removed[ConfigMap] | Synced) -> None:
        match event:
            case Upserted(item):
                old = self.objects.get(item.metadata.name)
                assert old != item, "no difference"
                assert old is None or old.metadata.uid == item.metadata.uid, "the old one was not removed"
                self.objects[item.metadata.name] = item
                self.told.append(f"+{item.metadata.name}")
            case Removed(item):
                del self.objects[item.metadata.name]
                self.told.append(f"-{item.metadata.name}")
            case Synced():
                self.told.append("synced")


def test_synced_comes_once_after_the_first_list() -> None:
    to = Deliveries()
    listed(to.reflector, 5, config_map("a", 1))
    listed(to.reflector, 6, config_map("a", 1))
    assert to.told == ["+a", "synced"]


def test_a_new_list_tells_only_differences() -> None:
    to = Deliveries()
    listed(to.reflector, 5, config_map("a", 1), config_map("b", 2), config_map("c", 3))
    to.told.clear()
    listed(to.reflector, 9, config_map("b", 2), config_map("c", 8, value="new"), config_map("d", 7))
    assert to.told == ["+c", "+d", "-a"]


def test_an_object_made_anew_under_its_old_name_was_removed_between() -> None:
    to = Deliveries()
    listed(to.reflector, 5, config_map("a", 1, uid="first"))
    listed(to.reflector, 9, config_map("a", 7, uid="second"))
    assert to.told == ["+a", "synced", "-a", "+a"]


def test_a_list_that_broke_off_must_be_begun_again_and_loses_nothing() -> None:
    to = Deliveries()
    listed(to.reflector, 5, config_map("a", 1), config_map("b", 2))
    to.reflector.begin_list()
    assert to.reflector.resource_version == ""
    listed(to.reflector, 6, config_map("b", 2))
    assert to.told == ["+a", "+b", "synced", "-a"]


def test_a_watch_that_goes_back_is_outdated() -> None:
    to = Deliveries()
    listed(to.reflector, 50)
    for change in ("ADDED", "MODIFIED", "BOOKMARK"):
        with pytest.raises(Outdated):
            to.reflector.take_line(line(change, config_map("a", 49)))
    assert to.told == ["synced"]


def test_old_servers_name_an_old_version_in_a_deletion() -> None:
    to = Deliveries()
    listed(to.reflector, 50, config_map("a", 10))
    to.reflector.take_line(line("DELETED", config_map("a", 10)))
    assert to.told[-1] == "-a"
    assert to.reflector.resource_version == "50"


def test_a_rejected_object_is_named_until_it_is_right_or_gone() -> None:
    to = Deliveries()
    bad = config_map("a", 60) | {"data": 5}
    listed(to.reflector, 50, config_map("a", 10))
    to.reflector.take_line(line("MODIFIED", bad))
    assert [str(ref) for ref in to.reflector.rejected] == ["demo/a"]
    assert to.reflector.resource_version == "60"
    listed(to.reflector, 61, bad)
    assert list(to.objects) == ["a"], "the last good version stays in force"
    to.reflector.take_line(line("DELETED", bad | config_map("a", 62) | {"data": 5}))
    assert not to.reflector.rejected
    assert not to.objects


@pytest.mark.parametrize(
    ("kind", "bare"),
    [
        (CONFIG_MAP, ConfigMap(Metadata("a", "demo", "u"))),
        (
            untyped("", "v1", "configmaps", "ConfigMap"),
            {"metadata": {"name": "a", "namespace": "demo", "uid": "u"}},
        ),
    ],
)
def test_of_what_is_gone_only_its_identity_is_told(kind: Kind[Any], bare: object) -> None:
    told: list[object] = []
    reflector = Reflector(kind, told.append)
    reflector.begin_list()
    reflector.end_list("5")
    reflector.take_line(line("ADDED", config_map("a", 6)))
    reflector.take_line(line("DELETED", config_map("a", 7)))
    assert told[-1] == Removed(bare)


def test_errors_of_the_watch_reach_the_caller() -> None:
    to = Deliveries()
    listed(to.reflector, 50)
    with pytest.raises(ApiError):
        to.reflector.take_line(b'{"type":"ERROR","object":{"code":500}}')
    with pytest.raises(Unreachable):
        to.reflector.take_line(b"<html>")


def test_versions_compare_as_numbers_and_strange_ones_not_at_all() -> None:
    assert is_older("99", "100")
    assert not is_older("100", "100")
    assert not is_older("", "100")
    assert not is_older("abc", "100")


class ReflectorMachine(RuleBasedStateMachine):
    """A server's collection and its history; whatever path led there, the copy must equal it."""

    restarts = Bundle("restarts")

    def __init__(self) -> None:
        super().__init__()
        self.version = 10
        self.server: dict[str, dict[str, Any]] = {}
        self.pending: list[tuple[str, dict[str, Any]]] = []
        self.to = Deliveries()

    @rule(name=NAMES, value=st.sampled_from(["1", "2"]))
    def put(self, name: str, value: str) -> None:
        self.version += 1
        old = self.server.get(name)
        uid = old["metadata"]["uid"] if old else f"u{self.version}"
        self.server[name] = config_map(name, self.version, uid, value)
        self.pending.append(("MODIFIED" if old else "ADDED", self.server[name]))

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if (old := self.server.pop(name, None)) is not None:
            self.version += 1
            uid = old["metadata"]["uid"]
            self.pending.append(("DELETED", config_map(name, self.version, uid)))

    @precondition(lambda self: self.to.reflector.resource_version)
    @rule(count=st.integers(1, 3))
    def watch(self, count: int) -> None:
        for change, item in self.pending[:count]:
            self.to.reflector.take_line(line(change, item))
        del self.pending[:count]

    @precondition(lambda self: self.to.reflector.resource_version and not self.pending)
    @rule()
    def bookmark(self) -> None:
        mark = {"metadata": {"resourceVersion": str(self.version)}}
        assert self.to.reflector.take_line(line("BOOKMARK", mark)) == "BOOKMARK"

    @rule(broken_off=st.booleans())
    def list(self, broken_off: bool) -> None:
        if broken_off:
            self.to.reflector.begin_list()
            self.page(list_of(self.server.values())[:1])
            return
        listed(self.to.reflector, self.version, *self.server.values())
        self.pending.clear()

    @rule(back=st.integers(0, 5))
    def restore(self, back: int) -> None:
        """Another history from an earlier version on: versions repeat with other content."""
        self.version -= min(back, self.version - 10)
        for name, item in list_of(self.server.items()):
            if int(item["metadata"]["resourceVersion"]) > self.version:
                self.server[name] = config_map(name, self.version, item["metadata"]["uid"], "restored")
        listed(self.to.reflector, self.version, *self.server.values())
        self.pending.clear()

    def page(self, items: Any) -> None:
        body = {"items": items, "metadata": {"resourceVersion": str(self.version)}}
        for batch in decode_page(CONFIG_MAP, json.dumps(body).encode()).batches():
            self.to.reflector.take_batch(batch)

    @invariant()
    def the_copy_equals_the_server_once_all_was_heard(self) -> None:
        if self.to.reflector.resource_version and not self.pending:
            copy = {name: item.data["v"] for name, item in self.to.objects.items()}
            assert copy == {name: item["data"]["v"] for name, item in self.server.items()}
            assert self.to.told.count("synced") == 1


list_of = list
TestReflectorMachine = ReflectorMachine.TestCase


@given(st.lists(st.binary(max_size=8).map(lambda raw: raw.replace(b"\n", b""))), st.lists(st.integers(1, 9)))
def test_lines_are_the_same_however_they_were_cut(lines: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(each + b"\n" for each in lines) + b"rest"
    buffer = LineBuffer(1000)
    found: list[bytes] = []
    for cut in [*cuts, len(whole)]:
        found += buffer.feed(whole[:cut])
        whole = whole[cut:]
    assert found == [each for each in lines if each]


def test_a_line_without_end_is_given_up() -> None:
    buffer = LineBuffer(1 << 10)
    with pytest.raises(Unreachable, match="longer than 1 KiB"):
        for _ in range(3):
            buffer.feed(b"x" * 512)


@settings(deadline=None)
@given(st.one_of(st.uuids().map(str), st.text(), st.from_regex(r"[0-9a-fA-F-]{36}", fullmatch=True)))
def test_any_uid_is_packed_and_found_again(uid: str):
    packed = pack_uid(uid)
    assert unpack_uid(packed) == uid
    assert pack_uid(unpack_uid(packed)) == packed
