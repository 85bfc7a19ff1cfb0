"""Which defaults and checks each kind has: the table that joins `pods`, `services`, `workloads`, `plain`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from isthmus.lab.apiserver import definitions, jobs, kinds, plain, pods, services, sets, workloads
from isthmus.lab.apiserver.errors import Cause, bad_request, invalid, invalid_value
from isthmus.lab.apiserver.names import validate_metadata
from isthmus.lab.apiserver.objects import Object, metadata, name_of
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.structural import set_defaults, validate_object


def _nothing(_: Object) -> None:
    return None


def _no_faults(_: Object) -> Iterator[Cause]:
    return iter(())


def _no_update_faults(_new: Object, _old: Object) -> Iterator[Cause]:
    return iter(())


@dataclass(frozen=True, slots=True)
class Rules:
    """A kind's own part: `default` changes an object in place, the others name its faults."""

    default: Callable[[Object], None] = _nothing
    validate: Callable[[Object], Iterator[Cause]] = _no_faults
    validate_update: Callable[[Object, Object], Iterator[Cause]] = _no_update_faults


_ROLE = Rules(validate=plain.validate_role)
_BINDING = Rules(plain.default_binding, plain.validate_binding, plain.validate_binding_update)

RULES: Mapping[Resource, Rules] = {
    kinds.NAMESPACES: Rules(plain.default_namespace),
    kinds.PODS: Rules(pods.default_pod, pods.validate_pod, pods.validate_pod_update),
    kinds.SERVICES: Rules(
        services.default_service, services.validate_service, services.validate_service_update
    ),
    kinds.ENDPOINTS: Rules(plain.default_endpoints, plain.validate_endpoints),
    kinds.NODES: Rules(plain.default_node),
    kinds.SECRETS: Rules(plain.default_secret, plain.validate_secret, plain.validate_secret_update),
    kinds.CONFIG_MAPS: Rules(
        validate=plain.validate_config_map, validate_update=plain.validate_immutable_data
    ),
    kinds.EVENTS: Rules(plain.default_event, plain.validate_event),
    kinds.DEPLOYMENTS: Rules(
        workloads.default_deployment, workloads.validate_deployment, workloads.validate_workload_update
    ),
    kinds.REPLICA_SETS: Rules(
        workloads.default_replica_set, workloads.validate_replica_set, workloads.validate_workload_update
    ),
    kinds.STATEFUL_SETS: Rules(
        sets.default_stateful_set, sets.validate_stateful_set, sets.validate_stateful_set_update
    ),
    kinds.DAEMON_SETS: Rules(
        sets.default_daemon_set, sets.validate_daemon_set, workloads.validate_workload_update
    ),
    kinds.CRON_JOBS: Rules(jobs.default_cron_job, jobs.validate_cron_job),
    kinds.JOBS: Rules(jobs.default_job, jobs.validate_job, jobs.validate_job_update),
    kinds.ENDPOINT_SLICES: Rules(
        plain.default_endpoint_slice, plain.validate_endpoint_slice, plain.validate_endpoint_slice_update
    ),
    kinds.CUSTOM_RESOURCE_DEFINITIONS: Rules(
        definitions.default_definition,
        definitions.validate_definition,
        definitions.validate_definition_update,
    ),
    kinds.LEASES: Rules(validate=plain.validate_lease),
    kinds.SERVICE_CIDRS: Rules(
        validate=plain.validate_service_cidr, validate_update=plain.validate_service_cidr_update
    ),
    kinds.ROLES: _ROLE,
    kinds.CLUSTER_ROLES: _ROLE,
    kinds.ROLE_BINDINGS: _BINDING,
    kinds.CLUSTER_ROLE_BINDINGS: _BINDING,
    kinds.POD_DISRUPTION_BUDGETS: Rules(plain.default_budget, plain.validate_budget),
}
_OTHERWISE = Rules()
_KEPT = ("uid", "creationTimestamp")


def default(resource: Resource, object_: Object) -> None:
    """Fill in what the kind's defaults say; 400 where the object's shape cannot be read at all."""
    if resource.definition is not None:
        set_defaults(resource.definition.schema, object_)
    try:
        RULES.get(resource, _OTHERWISE).default(object_)
    except (AttributeError, TypeError, KeyError, ValueError):
        raise _unreadable(resource) from None


def check(resource: Resource, object_: Object, old: Object | None = None) -> None:
    """Refuse an object that breaks a rule, with every cause (422); `old` is what it would replace."""
    rules = RULES.get(resource, _OTHERWISE)
    try:
        causes = [*validate_metadata(resource, object_), *rules.validate(object_)]
        if resource.definition is not None:
            causes += validate_object(resource.definition.schema, object_)
        if old is not None:
            causes += [*_validate_kept(object_, old), *rules.validate_update(object_, old)]
    except (AttributeError, TypeError, KeyError, ValueError):
        raise _unreadable(resource) from None
    if causes:
        raise invalid(resource.group, resource.kind, name_of(object_), causes)


def _validate_kept(object_: Object, old: Object) -> Iterator[Cause]:
    for field in _KEPT:
        value = metadata(object_).get(field)
        if value != metadata(old).get(field):
            yield invalid_value(f"metadata.{field}", value, "field is immutable")


def _unreadable(resource: Resource) -> Exception:
    return bad_request(
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
        "a field has a value of the wrong type"
    )
