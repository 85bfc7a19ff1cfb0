"""Policies out of YAML files, for tests and for `isthmus policy check`."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from isthmus.config.policy import GROUP, KIND, VERSION
from isthmus.lib.errors import UserError


def load_documents(file: Path) -> list[dict[str, Any]]:
    """Every mapping of a YAML file, `List`s taken apart. Raises UserError naming file and line."""
    try:
        documents: list[object] = list(yaml.safe_load_all(file.read_text()))
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}; name another file.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text (byte {error.start}); name another file.") from error
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise UserError(f"{file} is not YAML{where}; correct it there.") from error
    return list(_mappings(documents, file))


def load_policies(files: Iterable[Path]) -> list[dict[str, Any]]:
    """The Policies of these files, as plain objects; other kinds are passed over."""
    found = [(file, one) for file in files for one in load_documents(file) if one.get("kind") == KIND]
    for file, one in found:
        if "apiVersion" not in one:
            raise UserError(f"{file} holds a {KIND} without apiVersion; write apiVersion: {GROUP}/{VERSION}.")
    return [one for _, one in found]


def _mappings(documents: Iterable[object], file: Path) -> Iterator[dict[str, Any]]:
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, Mapping):
            raise UserError(f"{file} must hold mappings of field names to values.")
        found = cast("dict[str, Any]", document)
        if found.get("kind") == "List":
            yield from _mappings(found.get("items") or (), file)
        else:
            yield found
