"""The failure matrix promises nothing that no test shows, and leaves out no fault that the lab can make."""

import re
from pathlib import Path

from isthmus.lab.faults.kinds import Fault

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "failure-matrix.md").read_text()
ROW = re.compile(r"^\|(?! ?failure |---)(.*)\|$", re.MULTILINE)


def test_every_test_that_the_matrix_names_is_there() -> None:
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    defined = {name for text in sources for name in re.findall(r"def (test_\w+)\(", text)}
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    named = set(re.findall(r"`(?:[a-z0-9/]*/)?(test_\w+(?:\.py)?)`", PAGE))
    assert len(named) > 40
    assert named - defined - files == set()


def test_every_row_names_what_proves_it_or_is_played_with_every_seed() -> None:
    rows = ROW.findall(PAGE)
    assert len(rows) > 35
    played = {f"`{fault.value}`" for fault in Fault}
    for row in rows:
        assert "test_" in row or any(fault in row for fault in played), row


def test_every_fault_of_the_lab_stands_in_the_matrix() -> None:
    assert [fault.value for fault in Fault if f"| `{fault.value}` |" not in PAGE] == []
