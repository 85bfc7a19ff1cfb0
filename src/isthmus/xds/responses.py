"""Response messages, built once and shared by every stream that is due the same content."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from isthmus.xds.counters import place_of
from isthmus.xds.shelf import Batch, Form, Fragment, pieces
from isthmus.xds.wire import delta_response, whole_response

_MOST_REMEMBERED = 32


@dataclass(frozen=True, slots=True)
class Response:
    """One message. Its nonce is unique in the process, and the same for all streams that are sent these
    bytes.
    """

    nonce: str
    data: bytes
    place: int
    """Of its size (`counters.place_of`)."""


class Responses:
    """Builds responses out of batches; remembers the latest that more than one stream may want."""

    def __init__(self) -> None:
        self.built = 0
        self._remembered: OrderedDict[tuple[object, ...], Response] = OrderedDict()

    def of(
        self,
        form: Form,
        type_url: str,
        batches: tuple[Batch, ...],
        retained: tuple[Fragment, ...] = (),
    ) -> Response:
        """What changed in these batches, and what is `retained`, as one response; in the delta form also what
        is gone.
        """
        key = (form, type_url, batches, retained)
        found = self._remembered.get(key)
        if found is None:
            self.built += 1
            nonce = str(self.built)
            content = [*_content(batches, form), *pieces(retained, form)]
            if form is Form.WHOLE:
                data = whole_response(type_url, nonce, content)
            else:
                data = delta_response(type_url, nonce, content, _gone(batches))
            found = Response(nonce, data, place_of(len(data)))
            if all(batch.shelf is None or batch.shelf.followers > 1 for batch in batches):
                self._remembered[key] = found
                if len(self._remembered) > _MOST_REMEMBERED:
                    self._remembered.popitem(last=False)
        return found


def _content(batches: tuple[Batch, ...], form: Form) -> Iterable[bytes]:
    if len(batches) == 1:
        return pieces(batches[0].settle().changed, form)
    return (batch.joined(form) for batch in batches)


def _gone(batches: tuple[Batch, ...]) -> list[str]:
    """Names that one batch misses and no other has: a resource may move between scopes."""
    here = {one.resource.name for batch in batches for one in batch.settle().changed}
    gone = (name for batch in batches for name in batch.settle().gone if name not in here)
    return list(dict.fromkeys(gone))
