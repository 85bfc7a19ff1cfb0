"""The rules for a Pod's containers and volumes. Pure.

Source and texts: `ValidatePodSpec` and what it calls, in Kubernetes' pkg/apis/core/validation.
"""

import re
from collections.abc import Iterator

from isthmus.lab.apiserver.errors import (
    Cause,
    duplicate,
    forbidden_value,
    invalid_value,
    required,
    unsupported,
)
from isthmus.lab.apiserver.names import label_faults, port_faults, port_name_faults, qualified_name_faults
from isthmus.lab.apiserver.objects import Object, items, section
from isthmus.lab.apiserver.quantities import billionths

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_COUNTS = (
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
)
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_ENVIRONMENT = re.compile(r"[ -<>-~]+\Z")
_NO_VARIABLE = (
    "a valid environment variable name must consist only of printable ASCII characters other than '='"
)


def validate_named(part: Object, path: str, names: set[str]) -> Iterator[Cause]:
    """The faults of a name that is a label, and must differ from those there are."""
    name = part.get("name")
    if not name:
        yield required(f"{path}.name")
        return
    for fault in label_faults(name):
        yield invalid_value(f"{path}.name", name, fault)
    if name in names:
        yield duplicate(f"{path}.name", name)
    names.add(name)


def validate_volume(volume: Object, path: str) -> Iterator[Cause]:
    """The faults of a volume, but for its name: it has one source."""
    for source in [name for name in volume if name != "name"][1:]:
        yield forbidden_value(f"{path}.{source}", "may not specify more than 1 volume type")


def validate_container(container: Object, path: str, volumes: set[str]) -> Iterator[Cause]:
    """The faults of a container, but for its name; `volumes` are those that it may mount."""
    image = container.get("image")
    if not image:
        yield required(f"{path}.image")
    elif image != image.strip():
        yield invalid_value(f"{path}.image", image, "must not have leading or trailing whitespace")
    for hook in ("postStart", "preStop"):
        if hook in section(container, "lifecycle"):
            yield from _validate_handler(container["lifecycle"][hook], f"{path}.lifecycle.{hook}")
    for name in PROBES:
        if name in container:
            yield from _validate_probe(container[name], f"{path}.{name}", once=name != "readinessProbe")
    names: set[str] = set()
    for index, port in enumerate(items(container, "ports")):
        yield from _validate_port(port, f"{path}.ports[{index}]", names)
    for index, variable in enumerate(items(container, "env")):
        yield from _validate_variable(variable, f"{path}.env[{index}]")
    mounted: set[str] = set()
    for index, mount in enumerate(items(container, "volumeMounts")):
        yield from _validate_mount(mount, f"{path}.volumeMounts[{index}]", volumes, mounted)
    if container["imagePullPolicy"] not in _PULL_POLICIES:
        yield unsupported(f"{path}.imagePullPolicy", container["imagePullPolicy"], _PULL_POLICIES)
    yield from _validate_resources(container["resources"], f"{path}.resources")


def _validate_handler(handler: Object, path: str) -> Iterator[Cause]:
    given = [name for name in _HANDLERS if name in handler]
    if not given:
        yield required(path, "must specify a handler type")
    for name in given[1:]:
        yield forbidden_value(f"{path}.{name}", "may not specify more than 1 handler type")
    if given[:1] == ["exec"] and not handler["exec"].get("command"):
        yield required(f"{path}.exec.command")


def _validate_probe(probe: Object, path: str, *, once: bool) -> Iterator[Cause]:
    yield from _validate_handler(probe, path)
    for field in _COUNTS:
        if probe.get(field, 0) < 0:
            yield invalid_value(f"{path}.{field}", probe[field], "must be greater than or equal to 0")
    if once and probe.get("successThreshold", 1) != 1:
        yield invalid_value(f"{path}.successThreshold", probe["successThreshold"], "must be 1")


def _validate_port(port: Object, path: str, names: set[str]) -> Iterator[Cause]:
    name = port.get("name", "")
    faults = list(port_name_faults(name)) if name else []
    for fault in faults:
        yield invalid_value(f"{path}.name", name, fault)
    if name and not faults and name in names:
        yield duplicate(f"{path}.name", name)
    names.add(name)
    if not port.get("containerPort"):
        yield required(f"{path}.containerPort")
    for field in ("containerPort", "hostPort"):
        for fault in port_faults(port[field]) if port.get(field) else ():
            yield invalid_value(f"{path}.{field}", port[field], fault)
    if port["protocol"] not in _PROTOCOLS:
        yield unsupported(f"{path}.protocol", port["protocol"], _PROTOCOLS)


def _validate_variable(variable: Object, path: str) -> Iterator[Cause]:
    name = variable.get("name")
    if not name:
        yield required(f"{path}.name")
    elif not _ENVIRONMENT.match(name):
        yield invalid_value(f"{path}.name", name, _NO_VARIABLE)
    if variable.get("value") and variable.get("valueFrom"):
        yield invalid_value(f"{path}.valueFrom", "", "may not be specified when `value` is not empty")


def _validate_mount(mount: Object, path: str, volumes: set[str], mounted: set[str]) -> Iterator[Cause]:
    if not mount.get("name"):
        yield required(f"{path}.name")
    elif mount["name"] not in volumes:
        yield Cause(f"{path}.name", "FieldValueNotFound", f'Not found: "{mount["name"]}"')
    place = mount.get("mountPath")
    if not place:
        yield required(f"{path}.mountPath")
    elif place in mounted:
        yield invalid_value(f"{path}.mountPath", place, "must be unique")
    mounted.add(place or "")


def _validate_resources(resources: Object, path: str) -> Iterator[Cause]:
    limits = section(resources, "limits")
    for name, quantity in limits.items():
        yield from _validate_resource(name, quantity, f"{path}.limits[{name}]")
    for name, quantity in section(resources, "requests").items():
        yield from _validate_resource(name, quantity, f"{path}.requests[{name}]")
        limit = limits.get(name)
        if limit is None or billionths(quantity) == billionths(limit):
            continue
        if "/" in name:
            yield invalid_value(f"{path}.requests", quantity, f"must be equal to {name} limit of {limit}")
        elif billionths(quantity) > billionths(limit):
            text = f"must be less than or equal to {name} limit of {limit}"
            yield invalid_value(f"{path}.requests", quantity, text)


def _validate_resource(name: str, quantity: str, path: str) -> Iterator[Cause]:
    for fault in qualified_name_faults(name):
        yield invalid_value(path, name, fault)
    if "/" not in name and name not in _RESOURCES and not name.startswith("hugepages-"):
        yield invalid_value(path, name, "must be a standard resource type or fully qualified")
        yield invalid_value(path, name, "must be a standard resource for containers")
    if billionths(quantity) < 0:
        yield invalid_value(path, quantity, "must be greater than or equal to 0")
