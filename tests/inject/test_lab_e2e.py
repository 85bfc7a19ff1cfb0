import subprocess
import sys

import pytest

from tests.support.boxed import boxed, needs_root


@needs_root
@pytest.mark.e2e
def test_injected_pods_complete_wait_and_are_probed() -> None:
    command = boxed([sys.executable, "-m", "tests.inject.lab_scenario"])
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
