"""What can be wrong with an object of the mesh's configuration."""

import msgspec

from isthmus.kube.decoding import Ref
from isthmus.lib.errors import UserError


class ConfigRefused(UserError):  # noqa: N818 - the domain's word
    """An object that cannot come into force as it is: mend `field` and apply it again.

    `field` is the path of the culprit (`spec.rules[0].when`), "" for the object as a whole. `reason` may
    quote it, as no kind of configuration holds secrets.
    """

    def __init__(self, kind: str, ref: Ref, field: str, reason: str) -> None:
        super().__init__(f"{kind} {ref}: {field + ': ' if field else ''}{reason}")
        self.kind = kind
        self.ref = ref
        self.field = field
        self.reason = reason


def field_and_reason(error: msgspec.ValidationError) -> tuple[str, str]:
    """A decoder's complaint about a `spec`, as the path of the field and what is wrong with it."""
    reason, _, where = str(error).rpartition(" - at `")
    if not reason:
        return "spec", str(error)
    path = where.rstrip("`").rpartition("$")[2]
    return f"spec{path}", reason[0].lower() + reason[1:]
