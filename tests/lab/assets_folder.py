"""Stand-ins for the programs of a KUBEBUILDER_ASSETS folder."""

from pathlib import Path


def program(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o755)


def stand_in(file: Path, version: str, work: str = "exit 0") -> None:
    """A shell script that says its version when asked, and otherwise does that work."""
    program(
        file, f'#!/bin/sh\nif [ "$1" = --version ]; then echo "{file.name} v{version}"; exit; fi\n{work}\n'
    )
