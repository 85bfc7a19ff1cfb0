"""The cells of Tables that need more than one field, worded as Kubernetes' printers word them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from isthmus.lab.apiserver.objects import Object, items, labels_of, metadata, section, strings

_MOST_ENDPOINTS = 3
_ROLE = "node-role.kubernetes.io/"


def age(timestamp: Any, *, now: datetime | None = None) -> str:
    """How long ago a time was, as `kubectl` shows durations."""
    if not timestamp:
        return "<unknown>"
    then = datetime.fromisoformat(str(timestamp))
    return human_duration(int(((now or datetime.now(UTC)) - then).total_seconds()))


def human_duration(seconds: int) -> str:
    """Seconds in at most two units, the coarser the longer."""
    if seconds < -1:
        return "<invalid>"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d") if days < 2920 else f"{days // 365}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def pairs(labels: Mapping[str, Any]) -> str:
    """Labels as `a=b,c=d`."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "<none>"


def pod_ready(pod: Object) -> str:
    """Ready containers of all, restartable init containers counted with them."""
    sidecars = {one["name"] for one in items(section(pod, "spec"), "initContainers") if _restarts(one)}
    status = section(pod, "status")
    watched = items(status, "containerStatuses")
    watched = watched + [one for one in items(status, "initContainerStatuses") if one.get("name") in sidecars]
    ready = sum(1 for one in watched if one.get("ready"))
    return f"{ready}/{len(items(section(pod, 'spec'), 'containers')) + len(sidecars)}"


def pod_status(pod: Object) -> str:
    """The one word that says how a Pod is."""
    status, meta = section(pod, "status"), metadata(pod)
    if "deletionTimestamp" in meta and status.get("reason") != "NodeLost":
        finished = status.get("phase") in ("Succeeded", "Failed")
        if not finished:
            return "Terminating"
    if status.get("reason"):
        return str(status["reason"])
    initialising = _init_reason(pod)
    if initialising:
        return initialising
    return _container_reason(status)


def _init_reason(pod: Object) -> str:
    """What keeps a Pod from starting its containers, empty when they have been started."""
    containers = {one["name"]: one for one in items(section(pod, "spec"), "initContainers")}
    statuses = items(section(pod, "status"), "initContainerStatuses")
    for position, status in enumerate(statuses):
        state = section(status, "state")
        ended, waiting = section(state, "terminated"), section(state, "waiting")
        restartable = _restarts(containers.get(status.get("name", ""), {}))
        if ("terminated" in state and ended.get("exitCode") == 0) or (restartable and status.get("started")):
            continue
        if "terminated" in state:
            signal, code = ended.get("signal"), ended.get("exitCode")
            return f"Init:{ended.get('reason') or (f'Signal:{signal}' if signal else f'ExitCode:{code}')}"
        if waiting.get("reason") and waiting["reason"] != "PodInitializing":
            return f"Init:{waiting['reason']}"
        return f"Init:{position}/{len(containers)}"
    return ""


def _container_reason(status: Object) -> str:
    reason, running = str(status.get("phase", "Unknown")), False
    for one in reversed(items(status, "containerStatuses")):
        state = section(one, "state")
        ended = section(state, "terminated")
        if section(state, "waiting").get("reason"):
            reason = str(state["waiting"]["reason"])
        elif "terminated" in state:
            signal = ended.get("signal")
            reason = ended.get("reason") or (
                f"Signal:{signal}" if signal else f"ExitCode:{ended.get('exitCode')}"
            )
        elif one.get("ready") and "running" in state:
            running = True
    if reason == "Completed" and running:
        ready = any(
            one.get("type") == "Ready" and one.get("status") == "True" for one in items(status, "conditions")
        )
        return "Running" if ready else "NotReady"
    return reason


def pod_restarts(pod: Object) -> str:
    """Restarts of all containers, and how long ago the last was."""
    status = section(pod, "status")
    containers = items(status, "containerStatuses")
    if not containers:
        containers = items(status, "initContainerStatuses")
    restarts = sum(int(one.get("restartCount", 0)) for one in containers)
    ended = [section(section(one, "lastState"), "terminated").get("finishedAt") for one in containers]
    last = max((str(one) for one in ended if one), default="")
    return f"{restarts} ({age(last)} ago)" if restarts and last else str(restarts)


def _restarts(container: Object) -> bool:
    return container.get("restartPolicy") == "Always"


def external_addresses(service: Object) -> str:
    """A Service's addresses from outside."""
    spec = section(service, "spec")
    given = strings(spec, "externalIPs")
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName", ""))
        case "LoadBalancer":
            balancer = items(section(section(service, "status"), "loadBalancer"), "ingress")
            found = [str(one.get("ip") or one.get("hostname")) for one in balancer] + given
            return ",".join(found) or "<pending>"
        case _:
            return ",".join(given) or "<none>"


def service_ports(service: Object) -> str:
    """A Service's ports as `80/TCP` or, with a node port, `80:30000/TCP`."""
    shown = [
        f"{port.get('port')}:{port['nodePort']}/{port.get('protocol')}"
        if port.get("nodePort")
        else f"{port.get('port')}/{port.get('protocol')}"
        for port in items(section(service, "spec"), "ports")
    ]
    return ",".join(shown) or "<none>"


def endpoints(object_: Object) -> str:
    """The ready addresses of Endpoints with their ports, the first few of them."""
    found: list[str] = []
    for subset in items(object_, "subsets"):
        addresses = [str(one.get("ip")) for one in items(subset, "addresses")]
        ports = items(subset, "ports")
        found += [f"{one}:{port.get('port')}" for port in ports for one in addresses] if ports else addresses
    return _first_few(found) or "<none>"


def slice_ports(slice_: Object) -> str:
    """The port numbers of an EndpointSlice."""
    ports = [str(port.get("port", "*")) for port in items(slice_, "ports")]
    return _first_few(ports) or "<unset>"


def slice_endpoints(slice_: Object) -> str:
    """The addresses of an EndpointSlice, the first few of them."""
    addresses = [one for endpoint in items(slice_, "endpoints") for one in strings(endpoint, "addresses")]
    return _first_few(addresses) or "<unset>"


def _first_few(found: list[str]) -> str:
    shown = ",".join(found[:_MOST_ENDPOINTS])
    return f"{shown} + {len(found) - _MOST_ENDPOINTS} more..." if len(found) > _MOST_ENDPOINTS else shown


def node_status(node: Object) -> str:
    """Whether a node is ready, and whether it takes new Pods."""
    conditions = {one.get("type"): one.get("status") for one in items(section(node, "status"), "conditions")}
    shown = "Unknown"
    if "Ready" in conditions:
        shown = "Ready" if conditions["Ready"] == "True" else "NotReady"
    return f"{shown},SchedulingDisabled" if section(node, "spec").get("unschedulable") else shown


def node_roles(node: Object) -> str:
    """The roles that a node's labels give it."""
    roles = sorted(label.removeprefix(_ROLE) for label in labels_of(node) if label.startswith(_ROLE))
    return ",".join(filter(None, roles)) or "<none>"


def node_address(node: Object, kind: str) -> str:
    """A node's first address of a kind."""
    addresses = items(section(node, "status"), "addresses")
    return next((str(one.get("address")) for one in addresses if one.get("type") == kind), "<none>")


def deployment_ready(deployment: Object) -> str:
    """Ready replicas of those wanted."""
    ready = section(deployment, "status").get("readyReplicas", 0)
    return f"{ready}/{section(deployment, 'spec').get('replicas', 0)}"


def container_list(workload: Object, field: str) -> str:
    """One field of every container of a workload's template."""
    spec = section(section(section(workload, "spec"), "template"), "spec")
    return ",".join(str(one.get(field)) for one in items(spec, "containers"))


def subjects(binding: Object, kind: str) -> str:
    """The subjects of one kind that a binding names."""
    return ", ".join(
        f"{one['namespace']}/{one.get('name')}" if kind == "ServiceAccount" else str(one.get("name"))
        for one in items(binding, "subjects")
        if one.get("kind") == kind
    )


def involved(event: Object) -> str:
    """What an Event is about, as `kind/name`."""
    about = section(event, "involvedObject")
    kind, name = str(about.get("kind", "")).lower(), about.get("name", "")
    return f"{kind}/{name}" if name else kind


def source(event: Object) -> str:
    """Which component on which host reported an Event."""
    given = section(event, "source")
    component = given.get("component") or event.get("reportingComponent") or ""
    host = given.get("host") or event.get("reportingInstance") or ""
    return ", ".join(filter(None, (component, host)))


def first_seen(event: Object) -> str:
    """How long ago an Event first happened."""
    return age(event.get("firstTimestamp") or event.get("eventTime"))


def last_seen(event: Object) -> str:
    """How long ago an Event last happened."""
    observed = section(event, "series").get("lastObservedTime")
    return age(observed or event.get("lastTimestamp") or event.get("eventTime"))


def occurrences(event: Object) -> int:
    """How often an Event happened."""
    return int(section(event, "series").get("count") or event.get("count") or 1)
