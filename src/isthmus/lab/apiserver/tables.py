"""Tables: what `kubectl get` prints, with the columns of Kubernetes' own printers. Pure but for the clock.

Cells that need more than one field are in `cells`. Kinds without a row here show name and creation time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.lab.apiserver import cells, jsonpath, kinds
from isthmus.lab.apiserver.formats import partial
from isthmus.lab.apiserver.jobs import job_completions, job_duration, job_status
from isthmus.lab.apiserver.objects import Object, encode, metadata, name_of, section, strings
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.workloads import selector_text


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, its cell, and whether only `-o wide` shows it."""

    title: str
    cell: Callable[[Object], Any]
    wide: bool = False
    type: str = "string"


def _at(*path: str, otherwise: Any = "") -> Callable[[Object], Any]:
    """The cell that shows the value at a path."""
    *parents, last = path

    def cell(object_: Object) -> Any:
        for part in parents:
            object_ = section(object_, part)
        value = object_.get(last)
        return otherwise if value in (None, "") else value

    return cell


def _count(field: str) -> Callable[[Object], int]:
    return lambda object_: len(object_.get(field) or ())


def _pod_of(workload: Object) -> Object:
    return section(section(section(workload, "spec"), "template"), "spec")


_NAME = Column("Name", name_of)
_AGE = Column("Age", lambda object_: cells.age(metadata(object_).get("creationTimestamp")))
_TEMPLATE_COLUMNS = (
    Column("Containers", lambda one: cells.container_list(one, "name"), wide=True),
    Column("Images", lambda one: cells.container_list(one, "image"), wide=True),
    Column("Selector", lambda one: selector_text(section(section(one, "spec"), "selector")), wide=True),
)
_BINDING_COLUMNS = (
    _NAME,
    Column("Role", lambda one: "/".join(str(section(one, "roleRef").get(part)) for part in ("kind", "name"))),
    _AGE,
    Column("Users", lambda one: cells.subjects(one, "User"), wide=True),
    Column("Groups", lambda one: cells.subjects(one, "Group"), wide=True),
    Column("ServiceAccounts", lambda one: cells.subjects(one, "ServiceAccount"), wide=True),
)
_ROLE_COLUMNS = (_NAME, Column("Created At", _at("metadata", "creationTimestamp")))

_COLUMNS: Mapping[Resource, tuple[Column, ...]] = {
    kinds.PODS: (
        _NAME,
        Column("Ready", cells.pod_ready),
        Column("Status", cells.pod_status),
        Column("Restarts", cells.pod_restarts),
        _AGE,
        Column("IP", _at("status", "podIP", otherwise="<none>"), wide=True),
        Column("Node", _at("spec", "nodeName", otherwise="<none>"), wide=True),
        Column("Nominated Node", _at("status", "nominatedNodeName", otherwise="<none>"), wide=True),
        Column("Readiness Gates", lambda _: "<none>", wide=True),
    ),
    kinds.SERVICES: (
        _NAME,
        Column("Type", _at("spec", "type")),
        Column("Cluster-IP", _at("spec", "clusterIP", otherwise="<none>")),
        Column("External-IP", cells.external_addresses),
        Column("Port(s)", cells.service_ports),
        _AGE,
        Column("Selector", lambda one: cells.pairs(section(section(one, "spec"), "selector")), wide=True),
    ),
    kinds.ENDPOINTS: (_NAME, Column("Endpoints", cells.endpoints), _AGE),
    kinds.ENDPOINT_SLICES: (
        _NAME,
        Column("AddressType", _at("addressType")),
        Column("Ports", cells.slice_ports),
        Column("Endpoints", cells.slice_endpoints),
        _AGE,
    ),
    kinds.NODES: (
        _NAME,
        Column("Status", cells.node_status),
        Column("Roles", cells.node_roles),
        _AGE,
        Column("Version", _at("status", "nodeInfo", "kubeletVersion")),
        Column("Internal-IP", lambda one: cells.node_address(one, "InternalIP"), wide=True),
        Column("External-IP", lambda one: cells.node_address(one, "ExternalIP"), wide=True),
        Column("OS-Image", _at("status", "nodeInfo", "osImage", otherwise="<unknown>"), wide=True),
        Column(
            "Kernel-Version", _at("status", "nodeInfo", "kernelVersion", otherwise="<unknown>"), wide=True
        ),
        Column(
            "Container-Runtime",
            _at("status", "nodeInfo", "containerRuntimeVersion", otherwise="<unknown>"),
            wide=True,
        ),
    ),
    kinds.NAMESPACES: (_NAME, Column("Status", _at("status", "phase")), _AGE),
    kinds.SECRETS: (
        _NAME,
        Column("Type", _at("type")),
        Column("Data", _count("data"), type="integer"),
        _AGE,
    ),
    kinds.CONFIG_MAPS: (
        _NAME,
        Column("Data", lambda one: _count("data")(one) + _count("binaryData")(one), type="integer"),
        _AGE,
    ),
    kinds.SERVICE_ACCOUNTS: (_NAME, Column("Secrets", _count("secrets"), type="integer"), _AGE),
    kinds.EVENTS: (
        Column("Last Seen", cells.last_seen),
        Column("Type", _at("type")),
        Column("Reason", _at("reason")),
        Column("Object", cells.involved),
        Column("Subobject", _at("involvedObject", "fieldPath"), wide=True),
        Column("Source", cells.source, wide=True),
        Column("Message", lambda one: str(one.get("message", "")).strip()),
        Column("First Seen", cells.first_seen, wide=True),
        Column("Count", cells.occurrences, wide=True),
        Column("Name", name_of, wide=True),
    ),
    kinds.DEPLOYMENTS: (
        _NAME,
        Column("Ready", cells.deployment_ready),
        Column("Up-to-date", _at("status", "updatedReplicas", otherwise=0), type="integer"),
        Column("Available", _at("status", "availableReplicas", otherwise=0), type="integer"),
        _AGE,
        *_TEMPLATE_COLUMNS,
    ),
    kinds.REPLICA_SETS: (
        _NAME,
        Column("Desired", _at("spec", "replicas", otherwise=0), type="integer"),
        Column("Current", _at("status", "replicas", otherwise=0), type="integer"),
        Column("Ready", _at("status", "readyReplicas", otherwise=0), type="integer"),
        _AGE,
        *_TEMPLATE_COLUMNS,
    ),
    kinds.STATEFUL_SETS: (_NAME, Column("Ready", cells.deployment_ready), _AGE, *_TEMPLATE_COLUMNS[:2]),
    kinds.DAEMON_SETS: (
        _NAME,
        *(
            Column(title, _at("status", field, otherwise=0), type="integer")
            for title, field in (
                ("Desired", "desiredNumberScheduled"),
                ("Current", "currentNumberScheduled"),
                ("Ready", "numberReady"),
                ("Up-to-date", "updatedNumberScheduled"),
                ("Available", "numberAvailable"),
            )
        ),
        Column("Node Selector", lambda one: cells.pairs(section(_pod_of(one), "nodeSelector"))),
        _AGE,
        *_TEMPLATE_COLUMNS,
    ),
    kinds.CRON_JOBS: (
        _NAME,
        Column("Schedule", _at("spec", "schedule")),
        Column("Timezone", _at("spec", "timeZone", otherwise="<none>")),
        Column("Suspend", lambda one: str(bool(section(one, "spec").get("suspend")))),
        Column("Active", lambda one: len(section(one, "status").get("active") or ()), type="integer"),
        Column("Last Schedule", lambda one: cells.age(section(one, "status").get("lastScheduleTime"))),
        _AGE,
    ),
    kinds.JOBS: (
        _NAME,
        Column("Status", job_status),
        Column("Completions", job_completions),
        Column("Duration", job_duration),
        _AGE,
        *_TEMPLATE_COLUMNS,
    ),
    kinds.SERVICE_CIDRS: (
        _NAME,
        Column("CIDRs", lambda one: ",".join(strings(section(one, "spec"), "cidrs"))),
        _AGE,
    ),
    kinds.LEASES: (_NAME, Column("Holder", _at("spec", "holderIdentity")), _AGE),
    kinds.POD_DISRUPTION_BUDGETS: (
        _NAME,
        Column("Min Available", _at("spec", "minAvailable", otherwise="N/A")),
        Column("Max Unavailable", _at("spec", "maxUnavailable", otherwise="N/A")),
        Column("Allowed Disruptions", _at("status", "disruptionsAllowed", otherwise=0), type="integer"),
        _AGE,
    ),
    kinds.ROLES: _ROLE_COLUMNS,
    kinds.CLUSTER_ROLES: _ROLE_COLUMNS,
    kinds.ROLE_BINDINGS: _BINDING_COLUMNS,
    kinds.CLUSTER_ROLE_BINDINGS: _BINDING_COLUMNS,
}
_DEFINED = (_NAME, _AGE)
_OTHERWISE = (_NAME, Column("Created At", _at("metadata", "creationTimestamp")))


def table(resource: Resource, objects: list[Object], meta: Object, include: str = "") -> Object:
    """Objects as a Table (meta.k8s.io/v1); `include` is what rows carry: Metadata, Object or None."""
    columns = _columns(resource)
    definitions: list[Object] = [
        {
            "name": column.title,
            "type": column.type,
            "format": "name" if column.title == "Name" else "",
            "description": "",
            "priority": int(column.wide),
        }
        for column in columns
    ]
    rows: list[Object] = [
        {"cells": [column.cell(one) for column in columns], "object": _carried(resource, one, include)}
        for one in objects
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": definitions,
        "rows": rows,
    }


def _columns(resource: Resource) -> tuple[Column, ...]:
    if resource.definition is None:
        return _COLUMNS.get(resource.as_stored, _OTHERWISE)
    return (_NAME, *map(_printed, resource.definition.columns)) if resource.definition.columns else _DEFINED


def _printed(column: Object) -> Column:
    """A column as a definition gives it."""

    def cell(object_: Object) -> Any:
        value: object = jsonpath.first(column["jsonPath"], object_)
        if column["type"] == "date":
            return cells.age(value if isinstance(value, str) else None)
        return value if isinstance(value, str | int | float | None) else encode(value).decode()

    return Column(column["name"], cell, bool(column.get("priority")), column["type"])


def _carried(resource: Resource, object_: Object, include: str) -> Object | None:
    match include:
        case "None":
            return None
        case "Object":
            shown = resource.view.show(object_) if resource.view is not None else object_
            return {**shown, "kind": resource.kind, "apiVersion": resource.group_version}
        case _:
            return partial(object_)
