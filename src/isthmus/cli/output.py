"""How commands print rows: a table for people, JSON and YAML for programs; all from the same rows."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

import msgspec
import typer
import yaml

from isthmus.lib.errors import UserError

FORMATS = ("table", "json", "yaml")
Output = Annotated[
    str, typer.Option("--output", "-o", help="table, json or yaml.", autocompletion=lambda: FORMATS)
]


def check_format(output: str) -> str:
    """The format. Raises UserError (usage) for another word."""
    if output not in FORMATS:
        raise UserError(f"--output is {output!r}; write {', '.join(FORMATS)}.", exit_code=2)
    return output


def plain(value: object) -> Any:
    """Dataclasses, structs and times as what JSON has."""
    return msgspec.to_builtins(value)


def print_rows(rows: Sequence[Mapping[str, Any]], output: str, columns: Mapping[str, str]) -> None:
    """Print rows whole as JSON or YAML, or the named columns (key → heading) as a table."""
    if output == "json":
        typer.echo(json.dumps(rows, indent=2))
    elif output == "yaml":
        typer.echo(yaml.safe_dump(list(rows), sort_keys=False, allow_unicode=True), nl=False)
    else:
        lines = [list(columns.values()), *([str(row.get(key) or "") for key in columns] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            typer.echo("   ".join(cells).rstrip())


def print_row(row: Mapping[str, Any], output: str) -> None:
    """Print one row: an object in JSON or YAML, a line a field for people."""
    if output == "json":
        typer.echo(json.dumps(row, indent=2))
    elif output == "yaml":
        typer.echo(yaml.safe_dump(dict(row), sort_keys=False, allow_unicode=True), nl=False)
    else:
        for key, value in row.items():
            if value:
                typer.echo(f"{key + ':':15} {_text(value)}")


def print_documents(bodies: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Objects as one YAML stream, each under a comment that says where it goes."""
    for where, body in bodies:
        typer.echo(f"---\n# {where}\n{yaml.safe_dump(dict(body), sort_keys=False)}", nl=False)


def ask(question: str) -> None:
    """Go on only if a person says so. Raises UserError, also where nobody can be asked."""
    if not sys.stdin.isatty():
        raise UserError("Nobody can be asked here; say --yes if it is meant.", exit_code=2)
    if not typer.confirm(question):
        raise UserError("Nothing was changed.")


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in cast("dict[str, Any]", value).items())
    if isinstance(value, (list, tuple)):
        return "; ".join(str(one) for one in cast("Sequence[Any]", value))
    return str(value)
