from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.lab.apiserver.errors import RefusedError
from isthmus.lab.apiserver.objects import Object, copy
from isthmus.lab.apiserver.patches import json_patch, merge_patch

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=3), part, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("original", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": 1}, ["x"], ["x"]),
    ],
)
def test_merge_patches_follow_rfc_7386(original: Any, patch: Any, expected: Any) -> None:
    assert merge_patch(original, patch) == expected


@given(_JSON, _JSON)
def test_merging_twice_is_merging_once(original: Any, patch: Any) -> None:
    once = merge_patch(copy({"v": original})["v"], patch)
    assert merge_patch(copy({"v": once})["v"], patch) == once


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"op": "add", "path": "/list/1", "value": "x"}, {"list": ["a", "x", "b"], "map": {"k/~": 1}}),
        ({"op": "add", "path": "/list/-", "value": "x"}, {"list": ["a", "b", "x"], "map": {"k/~": 1}}),
        ({"op": "remove", "path": "/list/0"}, {"list": ["b"], "map": {"k/~": 1}}),
        ({"op": "replace", "path": "/map/k~1~0", "value": 2}, {"list": ["a", "b"], "map": {"k/~": 2}}),
        (
            {"op": "move", "from": "/list/0", "path": "/first"},
            {"list": ["b"], "map": {"k/~": 1}, "first": "a"},
        ),
        (
            {"op": "copy", "from": "/map", "path": "/other"},
            {"list": ["a", "b"], "map": {"k/~": 1}, "other": {"k/~": 1}},
        ),
    ],
)
def test_json_patches_follow_rfc_6902(operation: Object, expected: Object) -> None:
    assert json_patch({"list": ["a", "b"], "map": {"k/~": 1}}, [operation]) == expected


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/missing"},
        {"op": "replace", "path": "/list/7", "value": 1},
        {"op": "test", "path": "/list/0", "value": "z"},
        {"op": "add", "path": "/list/x", "value": 1},
        {"op": "jump", "path": "/list"},
        {"op": "add", "path": "list", "value": 1},
        {"op": "add"},
        {"op": "replace", "path": "", "value": 3},
    ],
)
def test_operations_that_do_not_apply_are_refused(operation: Object) -> None:
    with pytest.raises(RefusedError) as refused:
        json_patch({"list": ["a"]}, [operation])
    assert refused.value.code == 422
