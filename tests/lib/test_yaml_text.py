"""YAML that people wrote."""

import pytest

from isthmus.lib.yaml_text import NotYaml, read_yaml


def test_values_are_read_and_nothing_is_none() -> None:
    assert read_yaml("a: [1, x, {b: null}]") == {"a": [1, "x", {"b": None}]}
    assert read_yaml("# nothing\n") is None


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb: [", 2, "did not find expected node content"),
        ("a: 1\n---\nb: 2\n", 2, "but found another document"),
        ("a: 2024-99-99", 0, "month must be in 1..12"),
        ("a: \x00", 0, "unacceptable character"),
        ("a:\n  - " + "[" * 50_000 + "]" * 50_000, 2, "it nests deeper than 200 levels"),
        ("{" * 1_000, 1, "it nests deeper than 200 levels"),
    ],
)
def test_what_is_no_yaml_is_named_by_its_line(text: str, line: int, problem: str) -> None:
    """Deep nesting would end the process within libyaml."""
    with pytest.raises(NotYaml, match=problem) as caught:
        read_yaml(text)
    assert caught.value.line == line
