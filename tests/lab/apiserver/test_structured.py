"""Structured merge of maps, keyed lists and sets, checked for all values of a small kind."""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.lab.apiserver.errors import RefusedError
from isthmus.lab.apiserver.fieldpaths import from_fields, path_text, to_fields, with_parents
from isthmus.lab.apiserver.managers import (
    Share,
    Shares,
    Write,
    after_update,
    apply,
    read_shares,
    write_shares,
)
from isthmus.lab.apiserver.objects import Object
from isthmus.lab.apiserver.shapes import shape_of
from isthmus.lab.apiserver.structured import (
    StructureError,
    check_structure,
    compared,
    merged,
    paths_of,
)

SERVICE = shape_of("Service")
POD = shape_of("Pod")

_names = st.sampled_from("abc")
_ports: st.SearchStrategy[Any] = st.lists(
    st.fixed_dictionaries({"port": st.integers(1, 3)}, optional={"name": _names, "protocol": st.just("UDP")}),
    unique_by=lambda one: (one["port"], one.get("protocol")),
)
_services: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "labels": st.dictionaries(_names, _names, min_size=1),
                "finalizers": st.lists(_names, unique=True, min_size=1),
            },
        ),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "ports": _ports.filter(bool),
                "selector": st.dictionaries(_names, _names),
                "type": _names,
            },
        ),
    },
)


def _write(manager: str) -> Write:
    return Write(manager, "v1", "2026-01-01T00:00:00Z")


def _apply(live: Object, shares: Shares, manager: str, config: Object) -> tuple[Object, Shares]:
    applied = apply(SERVICE, _write(manager), shares, live, config, force=True)
    return applied.object, applied.shares


def _pruned(value: Any) -> Any:
    """Without empty maps and lists, which nobody need own."""
    if isinstance(value, dict):
        parts = {key: _pruned(part) for key, part in cast("Object", value).items()}
        return {key: part for key, part in parts.items() if part not in ({}, [])}
    return value


@given(_services, _services)
def test_applying_twice_is_applying_once(live: Object, config: Object) -> None:
    once = _apply(live, {}, "a", config)
    assert _apply(*once, "a", config) == once


@given(_services, _services)
def test_everything_that_is_applied_is_there_and_owned(live: Object, config: Object) -> None:
    result, shares = _apply(live, {}, "a", config)
    assert not compared(SERVICE, config, result).modified
    assert not compared(SERVICE, config, result).removed
    paths = [share.paths for owner, share in shares.items() if owner.name == "a"]
    assert paths == [_write("a").counted(paths_of(SERVICE, config))]


@given(_services.map(_pruned), _services.map(_pruned))
def test_managers_of_different_fields_do_not_disturb_each_other(first: Object, second: Object) -> None:
    mine = paths_of(SERVICE, first) - paths_of(SERVICE, second)
    live, shares = _apply({}, {}, "a", first)
    live, shares = _apply(live, shares, "b", second)
    assert paths_of(SERVICE, live) >= mine
    alone, _ = _apply(live, shares, "b", {})
    assert paths_of(SERVICE, alone) >= mine
    assert not (paths_of(SERVICE, alone) - with_parents(paths_of(SERVICE, first)))


@given(_services)
def test_applying_nothing_removes_all_that_was_applied(config: Object) -> None:
    live, shares = _apply({}, {}, "a", config)
    left, shares = _apply(live, shares, "a", {})
    assert _pruned(left) == {}
    assert write_shares(shares) == []


@given(_services, _services)
def test_differences_lead_from_one_version_to_the_other(old: Object, new: Object) -> None:
    difference = compared(SERVICE, old, new)
    assert not difference.set & difference.removed
    assert (not difference.set and not difference.removed) == (_ordered(old) == _ordered(new))
    assert not compared(SERVICE, new, merged(SERVICE, old, new)).modified


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(part) for key, part in cast("Object", value).items()}
    return sorted(cast("list[Any]", value), key=repr) if isinstance(value, list) else value


@given(_services)
def test_sets_of_paths_survive_being_written(config: Object) -> None:
    paths = paths_of(SERVICE, config) - {()}
    assert from_fields(to_fields(paths)) == paths
    shares = after_update(SERVICE, _write("a"), {}, {}, config)
    assert read_shares({"metadata": {"managedFields": write_shares(shares)}}) == shares


def test_items_are_told_apart_by_their_keys_and_defaults() -> None:
    live = {"spec": {"ports": [{"port": 53, "protocol": "TCP", "name": "a"}]}}
    config = {"spec": {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "name": "b"}]}}
    assert merged(SERVICE, live, config)["spec"]["ports"] == [
        {"port": 53, "protocol": "UDP"},
        {"port": 53, "protocol": "TCP", "name": "b"},
    ]


def test_what_only_the_server_has_keeps_its_place() -> None:
    def spec(*names: str) -> Object:
        return {"spec": {"containers": [{"name": name} for name in names]}}

    assert merged(POD, spec("x", "a", "y", "b"), spec("b", "a")) == spec("x", "y", "b", "a")


def test_dropped_item_goes_with_what_the_server_added_to_it() -> None:
    config = {"spec": {"ports": [{"port": 80}, {"port": 81}]}}
    live, shares = _apply({}, {}, "a", config)
    live["spec"]["ports"][1]["targetPort"] = 81
    live, _ = _apply(live, shares, "a", {"spec": {"ports": [{"port": 80}]}})
    assert live["spec"]["ports"] == [{"port": 80}]


def test_others_changes_conflict_and_are_named() -> None:
    live: Object = {"spec": {"type": "a"}, "metadata": {"labels": {"x": "1"}}}
    shares = after_update(SERVICE, _write("kubectl"), {}, {}, live)
    config = {"spec": {"type": "b"}, "metadata": {"labels": {"x": "2"}}}
    with pytest.raises(RefusedError) as refused:
        apply(SERVICE, _write("a"), shares, live, config, force=False)
    assert str(refused.value) == (
        'Apply failed with 2 conflicts: conflicts with "kubectl" using v1:\n'
        "- .metadata.labels.x\n- .spec.type"
    )
    forced = apply(SERVICE, _write("a"), shares, live, config, force=True)
    assert {owner.name: len(share.paths) for owner, share in forced.shares.items()} == {"kubectl": 2, "a": 2}


def test_agreeing_managers_share_a_field() -> None:
    live: Object = {"spec": {"type": "a"}}
    shares: Shares = after_update(SERVICE, _write("kubectl"), {}, {}, live)
    applied = apply(SERVICE, _write("a"), shares, live, live, force=False)
    left = apply(SERVICE, _write("a"), applied.shares, live, {}, force=False)
    assert left.object == live


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"spec": {"port": 1}}, ".spec.port: field not declared in schema"),
        ({"spec": {"ports": [{"name": "a"}]}}, 'key field "port"'),
        ({"spec": {"ports": [{"port": 1}, {"port": 1}]}}, ".spec.ports: duplicate entries for key [port=1,"),
        ({"spec": {"ports": {}}}, ".spec.ports: expected list"),
        ({"spec": []}, ".spec: expected map"),
    ],
)
def test_configurations_of_another_structure_are_refused(config: Object, fault: str) -> None:
    with pytest.raises(StructureError) as refused:
        check_structure(SERVICE, config)
    assert fault in str(refused.value)


def test_paths_read_as_in_messages() -> None:
    path = ("f:spec", "f:ports", 'k:{"port":80,"protocol":"TCP"}', "f:name")
    assert path_text(path) == '.spec.ports[port=80,protocol="TCP"].name'
    assert path_text(("f:metadata", "f:finalizers", 'v:"a"')) == '.metadata.finalizers[="a"]'


def test_unreadable_shares_are_refused() -> None:
    entries: list[Object] = [{"operation": "Other"}, {"operation": "Apply", "fieldsV1": {"x": {}}}]
    for entry in entries:
        with pytest.raises(ValueError, match="no "):
            read_shares({"metadata": {"managedFields": [entry]}})


def test_share_is_gone_with_its_last_field() -> None:
    shares = after_update(SERVICE, _write("a"), {}, {}, {"spec": {"type": "a"}})
    after = after_update(SERVICE, _write("b"), shares, {"spec": {"type": "a"}}, {"spec": {"type": "b"}})
    assert [entry["manager"] for entry in write_shares(after)] == ["a", "b"]
    assert [share for share in after.values() if not share.paths] == []
    assert isinstance(next(iter(after.values())), Share)
