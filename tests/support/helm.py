"""The real helm, as tests run it."""

import os
import subprocess
import tempfile
from collections.abc import Sequence

from isthmus.lab.helm import MAJOR, find_helm


def run_helm(
    arguments: Sequence[str], *, text: str | None = None, major: int = MAJOR
) -> subprocess.CompletedProcess[str]:
    """`helm …` with no settings, plugins or cluster of whoever runs the tests."""
    with tempfile.TemporaryDirectory(prefix="isthmus-helm-") as home:
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": home}
        command = [str(find_helm(major)), *arguments]
        return subprocess.run(
            command, input=text, env=environment, capture_output=True, text=True, timeout=60
        )
