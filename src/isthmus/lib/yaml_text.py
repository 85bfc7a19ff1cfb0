"""YAML that people wrote, read without trusting its shape.

libyaml composes by recursion, in C and without a bound: a text of some kilobytes that nests deeply would end
the process. So its depth is counted first, which takes no recursion.
"""

from typing import Any

import yaml

MOST_DEPTH = 200
"""Levels of nesting; the deepest custom kinds of Kubernetes have some forty."""


class NotYaml(ValueError):  # noqa: N818 - a finding about the text
    """What is wrong, and where: `line` counts from 1, 0 is unknown."""

    def __init__(self, problem: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {problem}" if line else problem)
        self.problem = problem
        self.line = line


def read_yaml(text: str, loader: Any = yaml.CSafeLoader) -> Any:
    """The one document's value; None where there is none. Raises NotYaml."""
    try:
        _check_depth(text, loader)
        return yaml.load(text, Loader=loader)
    except NotYaml:
        raise
    except yaml.MarkedYAMLError as error:
        # The end of a text is for libyaml on the line after the last.
        line = min(error.problem_mark.line + 1, len(text.splitlines())) if error.problem_mark else 0
        raise NotYaml(error.problem or str(error), line) from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that no calendar has
        raise NotYaml(str(error).splitlines()[0]) from None


def _check_depth(text: str, loader: Any) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MOST_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark is not None else 0
                raise NotYaml(f"it nests deeper than {MOST_DEPTH} levels", line)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
