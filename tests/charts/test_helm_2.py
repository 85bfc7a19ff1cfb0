"""The charts use nothing that Helm 2.7.2 lacks. It cannot be run here: a list says what it had."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.charts.rendering import CHARTS, CONTROL_PLANE, REMOTE

FUNCTIONS = {
    name
    for line in (Path(__file__).parent / "helm-2.7.2-functions.txt").read_text().splitlines()
    if not line.startswith("#")
    for name in line.split()
}
TEMPLATES = sorted(
    path for chart in (CONTROL_PLANE, REMOTE) for path in (chart / "templates").iterdir() if path.is_file()
)
_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_LITERAL = re.compile(r'"(?:\\.|[^"\\])*"|`[^`]*`|/\*.*?\*/', re.DOTALL)

every_template = pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(CHARTS)))


def actions(path: Path) -> Iterator[str]:
    """What stands between the braces, with texts and comments taken out."""
    for found in _ACTION.findall(path.read_text()):
        yield _LITERAL.sub('""', found)


@every_template
def test_only_functions_of_that_engine_are_called(path: Path) -> None:
    called = {name for action in actions(path) for name in re.findall(r"(?<![.$\w])[A-Za-z]\w*", action)}
    assert called <= FUNCTIONS


@every_template
def test_variables_are_set_once_for_go_has_assignment_only_since_1_11(path: Path) -> None:
    assert not [action for action in actions(path) if re.search(r"\$\w*\s*=[^=]", action)]


@every_template
def test_actions_end_on_their_line_for_go_takes_longer_ones_only_since_1_16(path: Path) -> None:
    assert not [action for action in actions(path) if "\n" in action]


@every_template
def test_branches_have_no_words_of_later_go(path: Path) -> None:
    """`else` takes only an `if` before Go 1.23, `range` only what has items before 1.22."""
    for action in actions(path):
        assert re.fullmatch(r"else(\s+if\s.*)?", action) or not action.startswith("else")
        assert not re.match(r"range\s+\d", action)


@every_template
def test_nothing_is_guessed_from_the_cluster(path: Path) -> None:
    assert not [action for action in actions(path) if ".Capabilities" in action]


@pytest.mark.parametrize("chart", [CONTROL_PLANE, REMOTE], ids=lambda chart: chart.name)
def test_chart_is_of_the_version_that_it_reads(chart: Path) -> None:
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert about["apiVersion"] == "v1"
    assert about["name"] == chart.name
    assert not (chart / "requirements.yaml").exists()
