"""What a Service says of who is told of it (Istio: annotation `networking.istio.io/exportTo`): pure."""

from isthmus.kube import objects
from isthmus.kube.decoding import Ref, Rejected
from isthmus.model.exports import ANNOTATION, ExportTo, read_export_to


def declared_exports(metadata: objects.Metadata) -> ExportTo:
    """Its entries that mean something; () where it says nothing."""
    return read_export_to(metadata.annotations.get(ANNOTATION, ""))[0]


def meaningless_exports(metadata: objects.Metadata) -> tuple[Rejected, ...]:
    """What it says beside these, as one rejection; the Service serves as the rest of the list has it."""
    declared, refused = read_export_to(metadata.annotations.get(ANNOTATION, ""))
    if not refused:
        return ()
    rest = f"{', '.join(declared)} is in force" if declared else "the mesh config's default is in force"
    named = ", ".join(repr(entry[:64]) for entry in refused[:5])
    reason = f'metadata.annotations["{ANNOTATION}"]: {named} is no namespace, nor ".", "*" or "~"; {rest}'
    return (Rejected("Service", Ref(metadata.namespace, metadata.name), reason),)
