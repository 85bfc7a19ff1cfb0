"""Pods: their defaults, the rules for their fields, and what of a Pod may change. Pure.

Source: Kubernetes' PodSpec reference, its defaulting and its validation, for the fields that this lab runs.
"""

from collections.abc import Iterator

from isthmus.lab.apiserver.containers import PROBES, validate_container, validate_named, validate_volume
from isthmus.lab.apiserver.errors import Cause, forbidden_value, invalid_value, required, unsupported
from isthmus.lab.apiserver.names import label_faults, validate_labels
from isthmus.lab.apiserver.objects import Object, copy, items, section

_POLICIES = {"restartPolicy": ("Always", "OnFailure", "Never")}
_IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.terminationGracePeriodSeconds` "
    "(allow it to be set to 1 if it was previously negative),`spec.tolerations` (only additions to existing "
    "tolerations)"
)
_PROBE_DEFAULTS = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def default_pod(pod: Object) -> None:
    """Fill in a Pod as the API server does before it is stored."""
    default_pod_spec(pod.setdefault("spec", {}))
    pod["spec"].setdefault("enableServiceLinks", True)
    for container in items(pod["spec"], "containers") + items(pod["spec"], "initContainers"):
        _default_requests(container)
    status = pod.setdefault("status", {})
    status.setdefault("phase", "Pending")
    status.setdefault("qosClass", quality_of_service(pod["spec"]))


def default_pod_spec(spec: Object) -> None:
    """Fill in a Pod's spec, or that of a template."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for container in items(spec, "initContainers") + items(spec, "containers"):
        _default_container(container, host_network=bool(spec.get("hostNetwork")))
    for volume in items(spec, "volumes"):
        _default_volume(volume)


def _default_container(container: Object, *, host_network: bool) -> None:
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    if "imagePullPolicy" not in container:
        image = str(container.get("image", ""))
        tag = image.rpartition("/")[2].partition(":")[2]
        pinned = "@" in image or tag not in ("", "latest")
        container["imagePullPolicy"] = "IfNotPresent" if pinned else "Always"
    for port in items(container, "ports"):
        port.setdefault("protocol", "TCP")
        if host_network:
            port.setdefault("hostPort", port.get("containerPort"))
    for variable in items(container, "env"):
        reference = section(section(variable, "valueFrom"), "fieldRef")
        if reference:
            reference.setdefault("apiVersion", "v1")
    for name in PROBES:
        probe = section(container, name)
        if probe:
            for field, value in _PROBE_DEFAULTS.items():
                probe.setdefault(field, value)
            _default_action(probe)
    for hook in ("postStart", "preStop"):
        _default_action(section(section(container, "lifecycle"), hook))


def _default_action(action: Object) -> None:
    request = section(action, "httpGet")
    if request:
        request.setdefault("path", "/")
        request.setdefault("scheme", "HTTP")
    call = section(action, "grpc")
    if call:
        call.setdefault("service", "")


def _default_volume(volume: Object) -> None:
    for source in ("secret", "configMap", "projected", "downwardAPI"):
        if isinstance(volume.get(source), dict):
            volume[source].setdefault("defaultMode", 0o644)
    if isinstance(volume.get("hostPath"), dict):
        volume["hostPath"].setdefault("type", "")
    for item in items(section(volume, "downwardAPI"), "items"):
        section(item, "fieldRef").setdefault("apiVersion", "v1")
    for source in items(section(volume, "projected"), "sources"):
        if isinstance(source.get("serviceAccountToken"), dict):
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
        for item in items(section(source, "downwardAPI"), "items"):
            section(item, "fieldRef").setdefault("apiVersion", "v1")
    if set(volume) == {"name"}:
        volume["emptyDir"] = {}


def _default_requests(container: Object) -> None:
    resources = container["resources"]
    for name, quantity in section(resources, "limits").items():
        resources.setdefault("requests", {}).setdefault(name, quantity)


def quality_of_service(spec: Object) -> str:
    """The Pod's quality-of-service class: Guaranteed, Burstable or BestEffort."""
    all_resources = [
        section(one, "resources") for one in items(spec, "containers") + items(spec, "initContainers")
    ]
    if not any(section(one, "requests") or section(one, "limits") for one in all_resources):
        return "BestEffort"
    for one in all_resources:
        limits = section(one, "limits")
        if not {"cpu", "memory"} <= set(limits) or limits != {**limits, **section(one, "requests")}:
            return "Burstable"
    return "Guaranteed"


def validate_pod(pod: Object) -> Iterator[Cause]:
    """The faults of a Pod."""
    yield from validate_pod_spec(section(pod, "spec"), "spec")


def validate_pod_spec(spec: Object, path: str) -> Iterator[Cause]:
    """The faults of a Pod's spec, after defaulting."""
    volumes: set[str] = set()
    for index, volume in enumerate(items(spec, "volumes")):
        yield from validate_named(volume, f"{path}.volumes[{index}]", volumes)
        yield from validate_volume(volume, f"{path}.volumes[{index}]")
    names: set[str] = set()
    containers = items(spec, "containers")
    if not containers:
        yield required(f"{path}.containers")
    for field, all_ in (("containers", containers), ("initContainers", items(spec, "initContainers"))):
        for index, container in enumerate(all_):
            at = f"{path}.{field}[{index}]"
            yield from validate_named(container, at, names)
            yield from validate_container(container, at, volumes)
    for field, known in _POLICIES.items():
        if spec.get(field) not in known:
            yield unsupported(f"{path}.{field}", spec.get(field), known)
    if spec.get("dnsPolicy") not in ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"):
        known = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
        yield unsupported(f"{path}.dnsPolicy", spec.get("dnsPolicy"), known)
    if spec.get("dnsPolicy") == "None" and not section(spec, "dnsConfig").get("nameservers"):
        text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        yield required(f"{path}.dnsConfig.nameservers", text)
    for field in ("hostname", "subdomain"):
        for fault in label_faults(spec[field]) if spec.get(field) else ():
            yield invalid_value(f"{path}.{field}", spec[field], fault)
    yield from validate_labels(section(spec, "nodeSelector"), f"{path}.nodeSelector")
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline < 1 << 31:
        text = "must be between 1 and 2147483647, inclusive"
        yield invalid_value(f"{path}.activeDeadlineSeconds", deadline, text)
    grace = spec.get("terminationGracePeriodSeconds")
    if not isinstance(grace, int) or grace < 0:
        yield invalid_value(
            f"{path}.terminationGracePeriodSeconds", grace, "must be greater than or equal to 0"
        )


def validate_pod_update(pod: Object, old: Object) -> Iterator[Cause]:
    """Faults of a change: of a Pod's spec only images, the deadline and more tolerations may change.

    Its quality of service was found out when it was created, and is nobody's to say.
    """
    quality = section(pod, "status").get("qosClass")
    if quality != section(old, "status").get("qosClass"):
        yield invalid_value("status.qosClass", quality, "field is immutable")
    if _comparable(pod["spec"], old["spec"]) != old["spec"]:
        yield forbidden_value("spec", _IMMUTABLE)


def _comparable(spec: Object, old: Object) -> Object:
    """The new spec with all that may change put back to what it was."""
    masked = copy(spec)
    for field in ("containers", "initContainers"):
        for container, before in zip(items(masked, field), items(old, field), strict=False):
            container["image"] = before.get("image")
    _put_back(masked, old, "activeDeadlineSeconds")
    if all(one in items(masked, "tolerations") for one in items(old, "tolerations")):
        _put_back(masked, old, "tolerations")
    return masked


def _put_back(masked: Object, old: Object, field: str) -> None:
    if field in old:
        masked[field] = old[field]
    else:
        masked.pop(field, None)
