"""What Istio's annotations on a Service say: pure. What means nothing is told, and the rest holds."""

from isthmus.kube import objects
from isthmus.kube.decoding import Ref, Rejected
from isthmus.model.exports import ANNOTATION as EXPORT_TO
from isthmus.model.exports import ExportTo, read_export_to

DISTRIBUTION = "networking.istio.io/traffic-distribution"
_PREFERENCES = ("PreferSameZone", "PreferClose", "PreferSameNode")


def declared_exports(metadata: objects.Metadata) -> ExportTo:
    """Whose proxies are told of it: the entries that mean something; () where it says nothing."""
    return read_export_to(metadata.annotations.get(EXPORT_TO, ""))[0]


def prefers_its_zone(service: objects.Service) -> bool:
    """Whether clients prefer endpoints of their own zone: by Kubernetes' own field, or by the annotation
    where that says nothing (Istio: GetTrafficDistribution). PreferSameNode is taken as far as the zone.
    """
    said = service.spec.traffic_distribution
    return said in _PREFERENCES or _distribution(service.metadata) in _lower(_PREFERENCES)


def meaningless_annotations(metadata: objects.Metadata) -> tuple[Rejected, ...]:
    """What its annotations say that means nothing, one rejection for each."""
    return tuple(
        Rejected(
            "Service", Ref(metadata.namespace, metadata.name), f'metadata.annotations["{name}"]: {reason}'
        )
        for name, reason in ((EXPORT_TO, _no_export(metadata)), (DISTRIBUTION, _no_distribution(metadata)))
        if reason
    )


def _no_export(metadata: objects.Metadata) -> str:
    declared, refused = read_export_to(metadata.annotations.get(EXPORT_TO, ""))
    if not refused:
        return ""
    rest = f"{', '.join(declared)} is in force" if declared else "the mesh config's default is in force"
    named = ", ".join(repr(entry[:64]) for entry in refused[:5])
    return f'{named} is no namespace, nor ".", "*" or "~"; {rest}'


def _no_distribution(metadata: objects.Metadata) -> str:
    said = _distribution(metadata)
    if said in ("", *_lower(_PREFERENCES)):
        return ""
    return f"{said[:64]!r} is none of {', '.join(_PREFERENCES)}; endpoints are used wherever they are"


def _distribution(metadata: objects.Metadata) -> str:
    return metadata.annotations.get(DISTRIBUTION, "").lower()


def _lower(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word.lower() for word in words)
