import subprocess
import sys

import pytest

from tests.support.boxed import boxed, needs_root


@needs_root
@pytest.mark.e2e
def test_pods_run_as_in_a_cluster() -> None:
    command = boxed([sys.executable, "-m", "tests.lab.node.node_scenario"])
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
