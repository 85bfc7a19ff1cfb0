"""A stream of YAML documents in, the same stream out with its workloads injected.

A document that needs no change is given back byte for byte, comments and all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from isthmus.inject.injection import inject
from isthmus.inject.nodes import load_value, rewrite
from isthmus.inject.settings import InjectionSettings
from isthmus.inject.workload import why_skipped, workload_in
from isthmus.lib.errors import UserError


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a stream: its text with its `---` line, and the line (from 1) on which it starts."""

    text: str
    line: int


def inject_stream(text: str, source: str, settings: InjectionSettings, note: Callable[[str], None]) -> str:
    """Inject every workload in `text`, which was read from `source`.

    `note` gets a sentence for each workload left out. UserError names source, line, object and field; then
    nothing is to be used of the stream.
    """
    return "".join(_inject_document(document, source, settings, note) for document in split_documents(text))


def split_documents(text: str) -> Iterator[Document]:
    """The documents of a stream; joined, their texts are `text` again.

    A line that starts with `---` begins a document wherever it stands, even in a block text (YAML 1.2,
    section 9.1.2, c-forbidden); only directives may stand before it.
    """
    held: list[str] = []
    start = 1
    for number, line in enumerate(_lines(text), 1):
        begins = line[:3] == "---" and line[3:4] in ("", " ", "\t", "\r", "\n")
        if begins and any(not before.startswith("%") for before in held):
            yield Document("".join(held), start)
            held, start = [], number
        held.append(line)
    if held:
        yield Document("".join(held), start)


def _lines(text: str) -> Sequence[str]:
    """Lines with their ends. Only LF ends one: `splitlines` knows other ends, which a text may hold."""
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _inject_document(
    document: Document, source: str, settings: InjectionSettings, note: Callable[[str], None]
) -> str:
    place = f"{source}:{document.line}"
    body = _load(document, source)
    workload = None if body is None else workload_in(body, place)
    if body is None or workload is None:
        return document.text
    reason = why_skipped(workload)
    if reason is not None:
        note(f"{workload.place}: left without a sidecar: {reason}")
        return document.text
    pod = inject(workload, settings)
    if pod == workload.pod:
        return document.text
    return _heading(document.text) + rewrite(document.text, body, _replaced(body, workload.path, pod))


def _load(document: Document, source: str) -> Any:
    try:
        return load_value(document.text)
    except yaml.MarkedYAMLError as error:
        line = document.line + (error.problem_mark.line if error.problem_mark else 0)
        raise UserError(f"{source}:{line}: this is no YAML: {error.problem}; correct that line.") from error
    except (yaml.YAMLError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{source}:{document.line}: this is no YAML that can be read: {reason}.") from error


def _heading(text: str) -> str:
    """The `---` line and the comments above a document's first content."""
    heading: list[str] = []
    for line in _lines(text):
        if line.startswith("---") and line[3:].strip() and not line[3:].lstrip().startswith("#"):
            return "".join([*heading, "---\n"])
        if line.strip() and not line.startswith(("---", "%", "#")):
            break
        heading.append(line)
    return "".join(heading)


def _replaced(body: Mapping[str, Any], path: Sequence[str], pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object with the pod at `path` replaced; a Pod is itself the pod."""
    if not path:
        return pod
    return {**body, path[0]: _replaced(body[path[0]], path[1:], pod)}
