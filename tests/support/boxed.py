"""A machine within the machine, for tests that bring up a lab or parts of one. See `tools/boxed`."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a box is made of namespaces, which needs root")

_BOXED = Path(__file__).parents[2] / "tools" / "boxed"


def boxed(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` in a new box."""
    return [str(_BOXED), *command]
