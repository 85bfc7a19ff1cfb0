"""Changes values in a YAML document while everything else stays as its author wrote it.

Work is on PyYAML's node graph, never on values read and written back: quotes, numbers such as `1e3` or
`0755`, block texts and the order of keys survive. Comments and blank lines of a changed document are lost.
"""

from collections.abc import Mapping
from io import StringIO
from typing import Any, cast

import yaml
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from isthmus.lib.yaml_text import read_yaml

_MAP = "tag:yaml.org,2002:map"
_STR = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_NUMBER_STARTS = tuple("0123456789+-.")


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it, by way of JSON: a date is a string, and so is every key."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _construct_mapping(loader: _Loader, node: MappingNode) -> dict[str, Any]:
    loader.flatten_mapping(node)
    for key, _ in node.value:
        if not isinstance(key, ScalarNode):
            raise ConstructorError(None, None, "a key must be a single word", key.start_mark)
    return {
        str(key.value): loader.construct_object(value, deep=True)  # pyright: ignore[reportUnknownMemberType]
        for key, value in node.value
    }


_Loader.add_constructor(_MAP, _construct_mapping)


class _Dumper(yaml.SafeDumper):
    """Shared values are written out each time: no anchors of ours in what people read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> ScalarNode:
    """Quoted where readers of YAML differ: `1e3` and `0o17` are numbers to Go, `y` is true to some."""
    doubtful = text[:1] in _NUMBER_STARTS or text.lower() in ("y", "n")
    return dumper.represent_scalar(  # pyright: ignore[reportUnknownMemberType]
        _STR, text, style="'" if doubtful else None
    )


_Dumper.add_representer(str, _represent_text)


def load_value(text: str) -> Any:
    """The one document's value; None where it holds none. Raises NotYaml."""
    return read_yaml(text, _Loader)


def rewrite(text: str, old: Any, new: Any) -> str:
    """The one document in `text`, which means `old`, changed to mean `new`; long lines stay unbroken."""
    node = change(cast("Node", yaml.compose(text, Loader=_Loader)), old, new)
    return yaml.serialize(  # pyright: ignore[reportUnknownMemberType]
        node, Dumper=yaml.CSafeDumper, width=2**31 - 1, allow_unicode=True
    )


def change(node: Node, old: Any, new: Any) -> Node:
    """`node`, which means `old`, changed to mean `new`. Nodes are not mutated: an alias elsewhere stays."""
    if old is new:
        return node
    if isinstance(node, MappingNode) and isinstance(old, dict) and isinstance(new, Mapping):
        return _change_mapping(node, cast("dict[str, Any]", old), cast("Mapping[str, Any]", new))
    if isinstance(node, SequenceNode) and isinstance(old, list) and isinstance(new, list):
        return _change_sequence(node, cast("list[Any]", old), cast("list[Any]", new))
    return node if old == new else _represent(new)


def _change_mapping(node: MappingNode, old: Mapping[str, Any], new: Mapping[str, Any]) -> Node:
    if any(key.tag == _MERGE for key, _ in node.value):
        node = MappingNode(node.tag, list(node.value), flow_style=node.flow_style)
        SafeConstructor().flatten_mapping(node)
    pairs = [
        (_own(key), _own(change(value, old[key.value], new[key.value])))
        for key, value in node.value
        if key.value in new
    ]
    pairs += [(_represent(key), _represent(value)) for key, value in new.items() if key not in old]
    in_one_line = bool(node.flow_style) and all(isinstance(value, ScalarNode) for _, value in pairs)
    return MappingNode(node.tag, pairs, flow_style=in_one_line)


def _change_sequence(node: SequenceNode, old: list[Any], new: list[Any]) -> Node:
    """Items that stay keep their nodes, wherever they now are; one that changed is changed in its node."""
    pairs = list(zip(old, node.value, strict=True))
    kept = {id(value): item for value, item in pairs}
    before = {_known_by(value, index): (value, item) for index, (value, item) in enumerate(pairs)}
    items: list[Node] = []
    for index, value in enumerate(new):
        earlier = before.get(_known_by(value, index))
        if id(value) in kept:
            items.append(kept[id(value)])
        elif earlier is not None:
            items.append(change(earlier[1], earlier[0], value))
        else:
            items.append(_represent(value))
    return SequenceNode(node.tag, items, flow_style=False)


def _known_by(value: Any, index: int) -> str | int:
    """What an item of a list is told apart by: its name, as in a pod, else its place."""
    name = cast("dict[str, Any]", value).get("name") if isinstance(value, dict) else None
    return name if isinstance(name, str) else index


def _own(node: Node) -> Node:
    """A scalar of its own: one shared with the alias's origin would be written as an anchor."""
    if isinstance(node, ScalarNode):
        return ScalarNode(node.tag, node.value, style=node.style)
    return node


def _represent(value: Any) -> Node:
    dumper = _Dumper(StringIO(), sort_keys=False, default_flow_style=False)
    return dumper.represent_data(value)  # pyright: ignore[reportUnknownMemberType]
