"""A stream of YAML documents in, the same stream out with its workloads injected, or no longer so.

A document that needs no change is given back byte for byte, comments and all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from isthmus.inject.injection import inject, remarks
from isthmus.inject.nodes import load_value, rewrite
from isthmus.inject.removal import uninject
from isthmus.inject.settings import InjectionSettings
from isthmus.inject.workload import Workload, likely_pod, why_skipped, workload_in
from isthmus.lib.errors import UserError
from isthmus.lib.yaml_text import NotYaml

Note = Callable[[str], None]
Change = Callable[[Workload], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a stream: its text with its `---` line, and the line (from 1) on which it starts."""

    text: str
    line: int


def inject_stream(text: str, source: str, settings: InjectionSettings, note: Note) -> str:
    """Inject every workload in `text`, which was read from `source`.

    `note` gets a sentence for each workload left out. UserError names source, line, object and field; then
    nothing is to be used of the stream.
    """

    def change(workload: Workload) -> Mapping[str, Any]:
        reason = why_skipped(workload)
        if reason is not None:
            note(f"{workload.place}: left without a sidecar: {reason}")
            return workload.pod
        for remark in remarks(workload, settings):
            note(f"{workload.place}: {remark}")
        return inject(workload, settings)

    return _change_stream(text, source, change, note)


def uninject_stream(text: str, source: str, note: Note) -> str:
    """Undo the injection of every workload in `text`; those without one stay as they are. Errors as above."""
    return _change_stream(text, source, uninject, note)


def _change_stream(text: str, source: str, change: Change, note: Note) -> str:
    return "".join(_changed_document(each, source, change, note) for each in split_documents(text))


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


def _changed_document(document: Document, source: str, change: Change, note: Note) -> str:
    body = _load(document, source)
    if body is None:
        return document.text
    changed = _changed(body, f"{source}:{document.line}", change, note)
    if changed == body:
        return document.text
    return _heading(document.text) + rewrite(document.text, body, changed)


def _changed(body: object, place: str, change: Change, note: Note) -> Any:
    """The object with its pod changed; of a List, each item."""
    workload = workload_in(body, place)
    found = cast("dict[str, Any]", body)
    if workload is not None:
        return _replaced(found, workload.path, change(workload))
    items: object = found.get("items")
    if found["kind"] == "List" and isinstance(items, list):
        listed = enumerate(cast("list[object]", items))
        return {
            **found,
            "items": [_changed(each, f"{place}: items[{i}]", change, note) for i, each in listed],
        }
    name = f"{place}: {found['kind']}"
    field = likely_pod(found)
    if field is not None:
        note(f"{name}: left without a sidecar: it has a pod in {field}, but is of no kind that is injected")
    elif str(found["kind"]).endswith("List") and items:
        note(f"{name}: left as it is: give its items one by one, or in an object of kind List")
    return found


def _load(document: Document, source: str) -> Any:
    try:
        return load_value(document.text)
    except NotYaml as error:
        line = document.line + max(0, error.line - 1)
        raise UserError(f"{source}:{line}: this is no YAML: {error.problem}; correct it there.") from error


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
