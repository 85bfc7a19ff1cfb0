from typing import Any

import pytest

from isthmus.lab.apiserver.errors import RefusedError
from isthmus.lab.apiserver.kinds import DEPLOYMENTS, NODES, PODS, SERVICES
from isthmus.lab.apiserver.objects import Object, copy
from isthmus.lab.apiserver.strategic import strategic_merge


def _pod(*containers: Object, **spec: Any) -> Object:
    return {"spec": {"containers": list(containers), **spec}}


def _merged(original: Object, patch: Object) -> Any:
    return strategic_merge(PODS, copy(original), patch)["spec"]


def test_containers_merge_by_name_and_the_patch_decides_the_order() -> None:
    original = _pod({"name": "a", "image": "1"}, {"name": "b", "image": "1"})
    patch = {
        "spec": {
            "containers": [{"name": "b", "image": "2"}, {"name": "c"}],
            "$setElementOrder/containers": [{"name": "c"}, {"name": "b"}],
        }
    }
    assert _merged(original, patch)["containers"] == [
        {"name": "a", "image": "1"},
        {"name": "c"},
        {"name": "b", "image": "2"},
    ]


def test_items_are_deleted_and_lists_replaced_where_the_patch_says_so() -> None:
    original = _pod({"name": "a", "env": [{"name": "X", "value": "1"}]}, {"name": "b"})
    deleted = _merged(original, _pod({"name": "b", "$patch": "delete"}))
    assert [one["name"] for one in deleted["containers"]] == ["a"]
    replaced = _merged(original, _pod({"name": "z"}, {"$patch": "replace"}))
    assert replaced["containers"] == [{"name": "z"}]


def test_maps_are_replaced_or_deleted_where_the_patch_says_so() -> None:
    original = _pod(nodeSelector={"a": "1", "b": "2"})
    assert _merged(original, {"spec": {"nodeSelector": {"$patch": "replace", "c": "3"}}})["nodeSelector"] == {
        "c": "3"
    }
    assert "nodeSelector" not in _merged(original, {"spec": {"nodeSelector": None}})
    assert "nodeSelector" not in _merged(original, {"spec": {"nodeSelector": {"$patch": "delete"}}})


def test_a_volume_keeps_only_the_source_that_the_patch_retains() -> None:
    original = _pod(volumes=[{"name": "v", "emptyDir": {}}])
    patch = {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"a": "b"}}]}}
    assert _merged(original, patch)["volumes"] == [{"name": "v", "secret": {"a": "b"}}]


def test_lists_without_a_key_are_replaced() -> None:
    original = _pod({"name": "a", "args": ["1", "2"]})
    assert _merged(original, _pod({"name": "a", "args": ["3"]}))["containers"] == [
        {"name": "a", "args": ["3"]}
    ]


def test_plain_lists_are_united_and_thinned() -> None:
    original: Object = {"metadata": {"finalizers": ["a", "b"]}}
    patch: Object = {"metadata": {"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert strategic_merge(PODS, original, patch)["metadata"]["finalizers"] == ["b", "c"]


def test_service_ports_conditions_and_addresses_have_their_own_keys() -> None:
    ports = {"spec": {"ports": [{"port": 80, "name": "http"}]}}
    patched = strategic_merge(SERVICES, copy(ports), {"spec": {"ports": [{"port": 443, "name": "https"}]}})
    assert {one["port"] for one in patched["spec"]["ports"]} == {80, 443}
    status = {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "x"}]}}
    changed = strategic_merge(
        NODES, copy(status), {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    )
    assert changed["status"]["conditions"] == [{"type": "Ready", "status": "True", "reason": "x"}]
    strategy = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    recreate = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge(DEPLOYMENTS, copy(strategy), recreate)["spec"]["strategy"] == {"type": "Recreate"}


def test_an_item_without_its_key_is_refused() -> None:
    with pytest.raises(RefusedError, match="does not contain declared merge key: name"):
        _merged(_pod({"name": "a"}), _pod({"image": "x"}))
