"""The cluster's state on disk: one line for each change, so that a server that is started again goes on.

Nothing is flushed to the device: the state survives the process, not the machine. A last line that was cut
short is dropped. At each start the journal is rewritten with what is still there.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from isthmus.lab.apiserver.definitions import serve_defined
from isthmus.lab.apiserver.objects import encode
from isthmus.lab.apiserver.served import Kinds
from isthmus.lab.apiserver.store import Change, Key, Store

_SKIPPED = 1000
"""Revisions left out at each start: those of changes that may have been lost."""


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change; without an object it is a deletion, without a plural only the revision."""

    revision: int
    group: str = ""
    plural: str = ""
    namespace: str = ""
    name: str = ""
    object: dict[str, Any] | None = None


@contextmanager
def running_journal(store: Store, kinds: Kinds, file: Path | None) -> Generator[None]:
    """Take up the state in `file`, then append every change to it; None: state is lost with the process."""
    if file is None:
        yield
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if file.exists():
        _restore(store, kinds, file)
    with _rewritten(store, kinds, file) as output:
        store.listen(lambda change: _append(output, change))
        yield


def _restore(store: Store, kinds: Kinds, file: Path) -> None:
    for line in _lines(file):
        resource = kinds.named(line.group, line.plural)
        if resource is None:
            store.advance(line.revision)
        else:
            key = Key(line.namespace, line.name)
            store.restore(resource, key, line.object, line.revision)
            serve_defined(kinds, resource, key, store.get(resource, key))
    store.advance(store.revision + _SKIPPED)


def _lines(file: Path) -> Iterator[_Line]:
    decoder = msgspec.json.Decoder(_Line)
    with file.open("rb") as content:
        for line in content:
            if line.endswith(b"\n"):
                yield decoder.decode(line)


@contextmanager
def _rewritten(store: Store, kinds: Kinds, file: Path) -> Generator[BinaryIO]:
    unfinished = file.with_suffix(".new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as output:
        lines = [_Line(store.revision)]
        for resource in kinds.stored():
            for key, stored in store.entries(resource):
                place = (resource.group, resource.plural, key.namespace, key.name)
                lines.append(_Line(stored.revision, *place, stored.object))
        output.write(b"".join(encode(line) + b"\n" for line in lines))
        unfinished.replace(file)
        yield output


def _append(output: BinaryIO, change: Change) -> None:
    resource, key = change.resource, change.key
    object_ = change.new.object if change.new else None
    line = _Line(change.revision, resource.group, resource.plural, key.namespace, key.name, object_)
    output.write(encode(line) + b"\n")
