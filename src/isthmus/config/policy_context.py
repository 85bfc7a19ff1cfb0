"""What Envoy is told to say of a destination with every check.

Sidecars say it in one field of the call's metadata (`initial_metadata` of the filter's gRPC service): the
network filter has no other place for it, and HTTP/2 sends a field that does not change as one byte. Other
Envoys may say it in the `context_extensions` of ext_authz. Whoever writes the filter and whoever answers the
check both use this module, so that they cannot disagree. Static configuration of the destination's own proxy
is proof; nothing that a request carries is.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

CONTEXT_METADATA = "x-isthmus-destination"
"""The metadata's field: what `context_text` gives."""
_PREFIX = "destination."
_LABELS = _PREFIX + "labels"
_TEXTS = ("cluster", "namespace", "workload", "service", "account")
_read_context = msgspec.json.Decoder(dict[str, str])
_read_labels = msgspec.json.Decoder(dict[str, str])


@dataclass(frozen=True, slots=True)
class Destination:
    """The workload that a check is about. "" and no labels: not said.

    `workload` is the owner's name (`echo` for pod `echo-5d9c-x2x`), `service` a host name, where it is known.
    """

    cluster: str = ""
    namespace: str = ""
    workload: str = ""
    service: str = ""
    account: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


def context_of(destination: Destination) -> dict[str, str]:
    """The filter's `context_extensions`: `destination.cluster` …; labels as one JSON object, sorted."""
    context = {_PREFIX + name: value for name in _TEXTS if (value := getattr(destination, name))}
    if destination.labels:
        context[_LABELS] = msgspec.json.encode(dict(destination.labels), order="sorted").decode()
    return context


def destination_in(context: Mapping[str, str]) -> Destination:
    """The reverse. ValueError where the labels are no JSON object of strings."""
    texts = {name: context.get(_PREFIX + name, "") for name in _TEXTS}
    labels = context.get(_LABELS)
    try:
        return Destination(**texts, labels={} if labels is None else _read_labels.decode(labels))
    except msgspec.DecodeError as error:
        raise ValueError(f"{_LABELS}: {error}") from None


def context_text(destination: Destination) -> str:
    """`context_of` as one line of ASCII: a JSON object, sorted."""
    return json.dumps(context_of(destination), sort_keys=True, separators=(",", ":"))


def destination_of(text: str) -> Destination:
    """The reverse. ValueError where it is no such text."""
    try:
        return destination_in(_read_context.decode(text))
    except msgspec.DecodeError as error:
        raise ValueError(f"{CONTEXT_METADATA}: {error}") from None
