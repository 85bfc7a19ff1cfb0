"""Injection itself, pure: a pod in, the same pod with its sidecar out.

The application's own containers, init containers and volumes come out as they went in. What an earlier
injection added is known by its status annotation and is replaced in place, so that doing it again with equal
settings changes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
import yaml

from isthmus.config.redirection import ANNOTATIONS, Redirection, redirection_from
from isthmus.inject.containers import (
    INIT,
    PROXY,
    init_container,
    names_of,
    proxy_container,
    sidecar_volumes,
)
from isthmus.inject.settings import InjectionSettings, as_proxy_config, overlay
from isthmus.inject.workload import Workload

STATUS = "sidecar.istio.io/status"
TLS_MODE = "security.istio.io/tlsMode"
PROXY_CONFIG = "proxy.istio.io/config"

_PARTS = ("initContainers", "containers", "volumes")

Named = Sequence[Mapping[str, Any]]


def inject(workload: Workload, settings: InjectionSettings) -> dict[str, Any]:
    """The workload's pod with its sidecar; UserError names the annotation or field that stands against it."""
    added = {
        "initContainers": [init_container(settings.image, _redirection(workload))],
        "containers": [_proxy(workload, settings)],
        "volumes": sidecar_volumes(),
    }
    status = {part: names_of(items) for part, items in added.items()}
    earlier = _earlier_status(workload)
    spec = dict(workload.spec)
    for part, items in added.items():
        present = cast("Named", spec.get(part) or [])
        spec[part] = _merge(present, items, earlier.get(part, ()), workload, part)
    annotations = {
        **workload.annotations,
        STATUS: msgspec.json.encode({**status, "revision": "default"}).decode(),
    }
    metadata = {
        **workload.metadata,
        "labels": {**workload.labels, TLS_MODE: "istio"},
        "annotations": annotations,
    }
    return {**workload.pod, "metadata": metadata, "spec": spec}


def _redirection(workload: Workload) -> Redirection:
    annotations = workload.annotations
    texts = {field: annotations[key] for field, key in ANNOTATIONS.items() if key in annotations}
    names = {field: f"{workload.place}: annotation {key}" for field, key in ANNOTATIONS.items()}
    return redirection_from(texts, names)


def _proxy(workload: Workload, settings: InjectionSettings) -> dict[str, Any]:
    own = (INIT, PROXY)
    containers = (name for name in names_of(workload.spec["containers"]) if name not in own)
    return proxy_container(
        settings.image,
        proxy_config=overlay(settings.proxy_config, _annotated_config(workload)),
        metadata={
            "CLUSTER_ID": settings.cluster_id,
            "NETWORK": settings.network,
            "INTERCEPTION_MODE": "REDIRECT",
            "WORKLOAD_NAME": workload.name,
            "APP_CONTAINERS": ",".join(containers),
        },
    )


def _annotated_config(workload: Workload) -> dict[str, Any]:
    source = f"{workload.place}: annotation {PROXY_CONFIG}"
    try:
        raw = yaml.safe_load(workload.annotations.get(PROXY_CONFIG, ""))
    except yaml.YAMLError as error:
        raise workload.error(f"metadata.annotations[{PROXY_CONFIG}]", f"is no YAML: {error}") from error
    return as_proxy_config(raw, source)


def _earlier_status(workload: Workload) -> dict[str, list[str]]:
    """Names by part that an earlier injection says it added, ours or Istio's."""
    text = workload.annotations.get(STATUS)
    if text is None:
        return {}
    try:
        status = msgspec.json.decode(text, type=dict[str, Any])
        parts: dict[str, Any] = {part: status.get(part) or [] for part in _PARTS}
        return msgspec.convert(parts, dict[str, list[str]])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise workload.error(
            f"metadata.annotations[{STATUS}]", f"is not as an injection writes it ({error}); remove it."
        ) from error


def _merge(present: Named, added: Named, earlier: Sequence[str], workload: Workload, part: str) -> list[Any]:
    new = {str(item["name"]): item for item in added}
    merged: list[Any] = []
    for index, item in enumerate(present):
        name = str(item["name"])
        if name in new and name not in earlier:
            raise workload.error(
                f"spec.{part}[{index}].name", f"is {name!r}, a name the sidecar needs; choose another."
            )
        if name in new:
            merged.append(new.pop(name))
        elif name not in earlier:
            merged.append(item)
    return [*merged, *new.values()]
