"""The command line as a whole: what a shell does to it, and what it must not do to a machine."""

import subprocess
import sys
from collections.abc import Mapping

import pytest


def isthmus(
    *arguments: str, output: str = "", environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command; `output` is a file in place of a pipe for its standard output."""
    command = [sys.executable, "-m", "isthmus.cli.main", *arguments]
    into = f'exec "$@" > {output}' if output else 'exec "$@"'
    return subprocess.run(
        ["/bin/sh", "-c", into, "sh", *command],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **(environment or {})},
    )


@pytest.mark.parametrize("arguments", [("--version",), ("inject", "--help")])
def test_a_full_disk_under_the_output_is_one_sentence(arguments: tuple[str, ...]) -> None:
    done = isthmus(*arguments, output="/dev/full")
    assert done.returncode == 1
    assert done.stderr == "isthmus: The output could not be written: No space left on device.\n"


def test_a_terminal_that_lacks_a_character_gets_another() -> None:
    done = isthmus("preflight", "--help", environment={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "CONTEXT?" in done.stdout


def test_traffic_is_not_redirected_on_a_machine_that_is_no_pod() -> None:
    done = isthmus("init", environment={"PATH": "/nowhere"})
    assert done.returncode == 1
    assert done.stderr.startswith("isthmus: This is no pod (KUBERNETES_SERVICE_HOST is not set)")
    assert "--anywhere" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pilot", "--cluster-id", ""), "--cluster-id is empty"),
        (
            ("statsd-bridge", "--log-level", "loud"),
            "--log-level is 'loud'; write debug, info, warning, error.",
        ),
    ],
)
def test_options_that_say_nothing_sensible_are_wrong_usage(arguments: tuple[str, ...], said: str) -> None:
    done = isthmus(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"isthmus: {said}")
