"""Istio's annotations of a pod that say how its sidecar is to be. Pure.

Those that have no effect here are named, not refused: a pod made for Istio is injected all the same. A value
that cannot be meant is refused.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from isthmus.config.redirection import ANNOTATIONS as TRAFFIC
from isthmus.inject.settings import InjectionSettings, NativeSidecars
from isthmus.inject.workload import INJECT, Workload

PROXY_CONFIG = "proxy.istio.io/config"
_SIDECAR = "sidecar.istio.io/"
_READINESS = "readiness.status.sidecar.istio.io/"
STATUS_PORT = "status.sidecar.istio.io/port"
_NATIVE = f"{_SIDECAR}nativeSidecar"
_REWRITE = f"{_SIDECAR}rewriteAppHTTPProbers"
_MODE = f"{_SIDECAR}interceptionMode"
_RESOURCES = {
    f"{_SIDECAR}proxyCPU": ("requests", "cpu"),
    f"{_SIDECAR}proxyMemory": ("requests", "memory"),
    f"{_SIDECAR}proxyCPULimit": ("limits", "cpu"),
    f"{_SIDECAR}proxyMemoryLimit": ("limits", "memory"),
}
_LEVELS = ("trace", "debug", "info", "warning", "error", "critical", "off")
_LEAST = {"initialDelaySeconds": 0, "periodSeconds": 1, "failureThreshold": 1}
_KNOWN = frozenset(
    {
        *TRAFFIC.values(), *_RESOURCES, *(_READINESS + name for name in _LEAST),
        INJECT, PROXY_CONFIG, STATUS_PORT, _NATIVE, _REWRITE, _MODE,
        f"{_SIDECAR}status", f"{_SIDECAR}proxyImage", f"{_SIDECAR}logLevel",
        f"{_SIDECAR}userVolume", f"{_SIDECAR}userVolumeMount",
    }
)  # fmt: skip
_Named = dict[str, dict[str, Any]] | list[dict[str, Any]]
_QUANTITY = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?")


@dataclass(frozen=True, slots=True)
class SidecarOptions:
    """One pod's sidecar: the run's settings with the pod's annotations laid over them.

    `log_level` "" leaves it to the agent. `status_port` None leaves it to the proxy's configuration; 0 means
    that neither the sidecar nor the application is probed through the agent. `native` makes it an init
    container that runs on.
    """

    image: str
    resources: Mapping[str, Any]
    log_level: str
    volumes: tuple[Mapping[str, Any], ...]
    mounts: tuple[Mapping[str, Any], ...]
    rewrite_probes: bool
    status_port: int | None
    readiness: Mapping[str, int]
    native: bool


def read_options(workload: Workload, settings: InjectionSettings) -> SidecarOptions:
    """UserError names the annotation whose value cannot be meant."""
    texts = workload.annotations
    _check_mode(workload)
    port = _integer(workload, STATUS_PORT, 0, 65535)
    wanted = settings.native_sidecars
    native = workload.ends if wanted is NativeSidecars.AUTO else wanted is NativeSidecars.ALWAYS
    return SidecarOptions(
        image=texts.get(f"{_SIDECAR}proxyImage") or settings.image,
        resources=_resources(workload) or settings.resources,
        log_level=_level(workload) or settings.log_level,
        volumes=_named(workload, f"{_SIDECAR}userVolume"),
        mounts=_named(workload, f"{_SIDECAR}userVolumeMount"),
        rewrite_probes=_switch(workload, _REWRITE, settings.rewrite_probes) and port != 0,
        status_port=port,
        readiness={
            name: number
            for name, least in _LEAST.items()
            if (number := _integer(workload, _READINESS + name, least, 2**31 - 1)) is not None
        },
        native=_switch(workload, _NATIVE, native),
    )


def without_effect(workload: Workload) -> Iterator[str]:
    """Annotations for sidecars that nothing here reads."""
    for key in workload.annotations:
        if key.partition("/")[0].endswith("sidecar.istio.io") and key not in _KNOWN:
            yield key


def _field(key: str) -> str:
    return f"metadata.annotations[{key}]"


def _check_mode(workload: Workload) -> None:
    mode = workload.annotations.get(_MODE, "REDIRECT")
    if mode != "REDIRECT":
        raise workload.error(_field(_MODE), f"is {mode!r}; only REDIRECT is supported, so remove it.")


def _switch(workload: Workload, key: str, default: bool) -> bool:
    text = workload.annotations.get(key)
    if text is None:
        return default
    if text.lower() not in ("true", "false"):
        raise workload.error(_field(key), f"is {text!r}; write 'true' or 'false'.")
    return text.lower() == "true"


def _integer(workload: Workload, key: str, least: int, most: int) -> int | None:
    text = workload.annotations.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
        raise workload.error(_field(key), f"is {text!r}; give a whole number from {least} to {most}.")
    return int(text)


def _level(workload: Workload) -> str:
    key = f"{_SIDECAR}logLevel"
    text = workload.annotations.get(key, "")
    if text and text not in _LEVELS:
        raise workload.error(_field(key), f"is {text!r}; write one of {', '.join(_LEVELS)}.")
    return text


def _resources(workload: Workload) -> dict[str, dict[str, str]]:
    """As in Istio's template, one annotation is enough to let all of the mesh's own resources go."""
    found: dict[str, dict[str, str]] = {}
    for key, (part, name) in _RESOURCES.items():
        text = workload.annotations.get(key)
        if text is None:
            continue
        if not _QUANTITY.fullmatch(text):
            raise workload.error(_field(key), f"is {text!r}, which is no quantity such as 100m or 1Gi.")
        found.setdefault(part, {})[name] = text
    return found


def _named(workload: Workload, key: str) -> tuple[Mapping[str, Any], ...]:
    """JSON of `{NAME: FIELDS}`, as Istio's template reads it, or of a list, as its documentation has it."""
    text = workload.annotations.get(key)
    if not text:
        return ()
    try:
        raw: _Named = msgspec.json.decode(text, type=_Named)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise workload.error(_field(key), f"is no JSON of names and their fields: {error}.") from error
    items = [{"name": name, **fields} for name, fields in raw.items()] if isinstance(raw, dict) else raw
    for item in items:
        name: object = item.get("name")
        if not isinstance(name, str) or not name:
            raise workload.error(_field(key), "has an entry without a name; give each one.")
    return tuple(items)
