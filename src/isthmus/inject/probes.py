"""The application's probes, pointed at the sidecar's agent and back again. Pure.

A kubelet's probe would come out of Envoy's hands: HTTP and gRPC would need a certificate of the mesh, and TCP
would always pass. Probes that run a command, and those with a host of their own, are left alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec

from isthmus.config.app_probes import PATHS, PREFIX, VARIABLE, AppProbe
from isthmus.inject.workload import Workload

_HANDLERS = ("httpGet", "tcpSocket", "grpc")

Fields = Mapping[str, Any]


class RewrittenProbes:
    """Collects what the agent is to be told, while containers are rewritten one by one."""

    def __init__(self, workload: Workload, status_port: int) -> None:
        self._workload = workload
        self._status_port = status_port
        self.told: dict[str, AppProbe] = {}
        """Path → probe, for the agent's variable."""
        self.originals: dict[str, dict[str, Any]] = {}
        """Path → the handler as the application has it, for the way back."""

    def rewrite(self, containers: Sequence[Fields], part: str) -> list[Fields]:
        """The containers of `containers` or `initContainers`, with their probes made by the agent."""
        return [self._container(each, f"spec.{part}[{index}]") for index, each in enumerate(containers)]

    def _container(self, container: Fields, place: str) -> Fields:
        changed: dict[str, Any] = {}
        for field, last in PATHS.items():
            probe = container.get(field)
            if probe is None:
                continue
            if not isinstance(probe, dict):
                raise self._workload.error(f"{place}.{field}", "must be a mapping.")
            path = f"{PREFIX}{container['name']}/{last}"
            new = self._probe(cast("Fields", probe), container, path, f"{place}.{field}")
            if new is not None:
                changed[field] = new
        return {**container, **changed} if changed else container

    def _probe(self, probe: Fields, container: Fields, path: str, place: str) -> Fields | None:
        name = next((name for name in _HANDLERS if probe.get(name) is not None), None)
        if name is None or probe.get("exec") is not None:
            return None
        if not isinstance(probe[name], dict):
            raise self._workload.error(f"{place}.{name}", "must be a mapping.")
        handler = cast("dict[str, Any]", probe[name])
        if handler.get("host"):
            return None
        port = self._port(handler.get("port"), container, f"{place}.{name}.port")
        if port == self._status_port:
            return None
        told = {name: {**_without_none(handler), "port": port}}
        if probe.get("timeoutSeconds") is not None:
            told["timeoutSeconds"] = probe["timeoutSeconds"]
        try:
            self.told[path] = msgspec.convert(told, AppProbe)
        except msgspec.ValidationError as error:
            raise self._workload.error(place, f"is no probe: {error}.") from error
        self.originals[path] = {name: handler}
        rest = {key: value for key, value in probe.items() if key not in _HANDLERS}
        return {"httpGet": {"path": path, "port": self._status_port}, **rest}

    def _port(self, port: object, container: Fields, place: str) -> int:
        """Kubernetes resolves a name among the container's own ports."""
        declared = cast("list[Fields]", container.get("ports") or [])
        if isinstance(port, str) and not port.isdecimal():
            found = next((each.get("containerPort") for each in declared if each.get("name") == port), None)
            if found is None:
                raise self._workload.error(
                    place, f"is {port!r}, which no port of its container is called; name one of them."
                )
            port = found
        if isinstance(port, bool) or not isinstance(port, int | str) or not 0 < int(port) < 65536:
            raise self._workload.error(place, f"is {port!r}, which is no port; give one from 1 to 65535.")
        return int(port)


def restore_probes(container: Fields, originals: Mapping[str, Fields]) -> Fields:
    """The container with those probes as they were that still point at the agent."""
    changed: dict[str, Any] = {}
    for field, last in PATHS.items():
        path = f"{PREFIX}{container['name']}/{last}"
        probe = cast("Fields", container.get(field) or {})
        asked = cast("Fields", probe.get("httpGet") or {})
        if path in originals and asked.get("path") == path:
            changed[field] = {
                **originals[path],
                **{key: value for key, value in probe.items() if key != "httpGet"},
            }
    return {**container, **changed} if changed else container


def told_probes(proxies: Iterable[Fields]) -> dict[str, dict[str, Any]]:
    """Path → handler out of what another injector told its agent: ports are numbers there."""
    for proxy in proxies:
        for variable in cast("list[Fields]", proxy.get("env") or []):
            if variable.get("name") == VARIABLE:
                try:
                    probes = msgspec.json.decode(
                        variable.get("value") or "{}", type=dict[str, dict[str, Any]]
                    )
                except (msgspec.DecodeError, msgspec.ValidationError):
                    return {}
                return {
                    path: {name: probe[name] for name in _HANDLERS if name in probe}
                    for path, probe in probes.items()
                }
    return {}


def _without_none(fields: Fields) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}
