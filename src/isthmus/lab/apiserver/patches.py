"""The patch formats, applied to JSON: RFC 6902 (JSON patch) and RFC 7386 (merge patch). Pure.

Strategic merge is in `strategic`, server-side apply, which is no patch of JSON, in `applying`.
"""

from typing import Any, cast

from isthmus.lab.apiserver.errors import RefusedError, bad_request
from isthmus.lab.apiserver.objects import Object, copy
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.strategic import strategic_merge

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
SCALE_PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH)
CUSTOM_PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
"""Those for custom kinds: their schemas say nothing of strategic merge."""


def apply_patch(resource: Resource, media_type: str, original: Object, patch: Any) -> Object:
    """The patched object, sharing nothing with the original; 400 or 422 where the patch does not apply."""
    if media_type == JSON_PATCH:
        if not isinstance(patch, list):
            raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
        return json_patch(copy(original), cast("list[Any]", patch))
    if not isinstance(patch, dict):
        raise bad_request("json: cannot unmarshal into Go value of type map[string]interface {}")
    if media_type == MERGE_PATCH:
        return cast("Object", merge_patch(copy(original), cast("Object", patch)))
    return strategic_merge(resource, copy(original), cast("Object", patch))


def merge_patch(original: Any, patch: Any) -> Any:
    """RFC 7386: maps are merged, null removes, everything else replaces. `original` may be changed."""
    if not isinstance(patch, dict):
        return patch
    merged: Object = cast("Object", original) if isinstance(original, dict) else {}
    for key, value in cast("Object", patch).items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def json_patch(document: Object, operations: list[Any]) -> Object:
    """RFC 6902 on a document that may be changed; 422 where an operation does not apply."""
    holder: Object = {"": document}
    for operation in operations:
        if not isinstance(operation, dict):
            raise bad_request("json patch: an operation is no object")
        _operate(holder, cast("Object", operation))
    result: Any = holder[""]
    if not isinstance(result, dict):
        raise _inapplicable()
    return cast("Object", result)


def _operate(holder: Object, operation: Object) -> None:
    kind, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str):
        raise _inapplicable()
    match kind:
        case "add":
            _add(holder, path, copy({"value": operation.get("value")})["value"])
        case "remove":
            _remove(holder, path)
        case "replace":
            _remove(holder, path)
            _add(holder, path, copy({"value": operation.get("value")})["value"])
        case "move":
            _add(holder, path, _remove(holder, str(operation.get("from"))))
        case "copy":
            _add(holder, path, copy({"value": _get(holder, str(operation.get("from")))})["value"])
        case "test":
            if _get(holder, path) != operation.get("value"):
                raise _inapplicable()
        case _:
            raise _inapplicable()


def _inapplicable() -> RefusedError:
    """422; Kubernetes does not say why."""
    text = "the server rejected our request due to an error in our request"
    return RefusedError(422, "Invalid", text, {})


def _steps(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise _inapplicable()
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")]


def _place(holder: Object, path: str) -> tuple[Any, str]:
    *parents, last = _steps(path)
    at: Any = holder
    for step in parents:
        at = _child(at, step, path)
    return at, last


def _child(at: Any, step: str, path: str) -> Any:
    if isinstance(at, dict) and step in at:
        return cast("Object", at)[step]
    if isinstance(at, list):
        return cast("list[Any]", at)[_index(step, len(cast("list[Any]", at)), path)]
    raise _inapplicable()


def _index(step: str, length: int, path: str) -> int:
    if not step.isdecimal() or int(step) >= length:
        raise _inapplicable()
    return int(step)


def _get(holder: Object, path: str) -> Any:
    at, last = _place(holder, path)
    return _child(at, last, path)


def _add(holder: Object, path: str, value: Any) -> None:
    at, last = _place(holder, path)
    if isinstance(at, dict):
        at[last] = value
    elif isinstance(at, list):
        sequence = cast("list[Any]", at)
        sequence.insert(len(sequence) if last == "-" else _index(last, len(sequence) + 1, path), value)
    else:
        raise _inapplicable()


def _remove(holder: Object, path: str) -> Any:
    at, last = _place(holder, path)
    removed = _child(at, last, path)
    if isinstance(at, dict):
        del cast("Object", at)[last]
    else:
        del at[int(last)]
    return removed
