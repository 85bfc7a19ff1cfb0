"""The table of kinds that this server knows; discovery, routing, storage and checks are all driven by it.

Adding a kind is one row here; its own rules, if it has any, go into `strategies`, its columns into `tables`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from isthmus.lab.apiserver.definition import Definition
from isthmus.lab.apiserver.errors import Cause
from isthmus.lab.apiserver.events import core_field, read_event, show_event, validate_new_event

STORED_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_STATUS_VERBS = ("get", "patch", "update")


@dataclass(frozen=True, slots=True)
class Subresource:
    """One path below an object, such as `status`: the kind that it speaks, and its verbs."""

    name: str
    verbs: tuple[str, ...] = _STATUS_VERBS
    group: str | None = None
    version: str | None = None
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class View:
    """A kind whose objects are another's in another form."""

    stored: "Resource"
    show: Callable[[dict[str, Any]], dict[str, Any]]
    """From the form that is stored to the one that is shown, without kind and apiVersion."""
    read: Callable[[dict[str, Any]], dict[str, Any]]
    """And back."""
    validate_new: Callable[[dict[str, Any]], Iterator[Cause]]
    """The faults of a stored form that is new, beside those of its kind."""
    field: Callable[[str], str]
    """The stored name of a path that a field selector names."""


STATUS = Subresource("status")
_STREAM_VERBS = ("create", "get")
_PROXY_VERBS = ("create", "delete", "get", "patch", "update")
SCALE = Subresource("scale", group="autoscaling", version="v1", kind="Scale")


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind at one version: its address, its names, and what may be done with it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    verbs: tuple[str, ...] = STORED_VERBS
    fields: tuple[str, ...] = ()
    """Paths that field selectors may name, besides `metadata.name` and `metadata.namespace`."""
    counts_generations: bool = False
    created_by_update: bool = False
    """Whether PUT to a name that does not exist creates it (Kubernetes: AllowCreateOnUpdate)."""
    warnings: tuple[str, ...] = ()
    """What every answer about it warns of."""
    unconditional: bool = True
    """Whether PUT may leave the version out (Kubernetes: AllowUnconditionalUpdate)."""
    shown_when_deleted: bool = False
    """Whether a delete answers with the object, not with a Status (Kubernetes: ReturnDeletedObject)."""
    definition: Definition | None = field(default=None, compare=False)
    """What a custom kind's definition says further; None for the kinds of this table."""
    view: View | None = field(default=None, compare=False)
    """Whose objects it shows in another form; None where it has its own."""

    @property
    def group_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        """The singular name, as discovery gives it."""
        return self.definition.singular if self.definition else self.kind.lower()

    @property
    def list_kind(self) -> str:
        """The `kind` of its lists."""
        return self.definition.list_kind if self.definition else f"{self.kind}List"

    @property
    def as_stored(self) -> "Resource":
        """The kind at the version in which its objects are stored."""
        if self.view is not None:
            return self.view.stored
        if self.definition is None or self.definition.storage_version == self.version:
            return self
        return replace(self, version=self.definition.storage_version)

    @property
    def place(self) -> tuple[str, str]:
        """Under which name its objects are kept, whatever their version."""
        kept = self.view.stored if self.view is not None else self
        return kept.group, kept.plural

    @property
    def virtual(self) -> bool:
        """Whether it is only answered, never stored (reviews)."""
        return "get" not in self.verbs

    def subresource(self, name: str) -> Subresource | None:
        """The subresource of that name, if the kind has it."""
        return next((one for one in self.subresources if one.name == name), None)


_ONLY_CREATED = ("create",)
_AUTHENTICATION = ("authentication.k8s.io", "v1")
_AUTHORIZATION = ("authorization.k8s.io", "v1")
_RBAC = ("rbac.authorization.k8s.io", "v1")
_OBJECT_REFERENCE = tuple(
    f"involvedObject.{part}"
    for part in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
)

NAMESPACES = Resource(
    "",
    "v1",
    "namespaces",
    "Namespace",
    namespaced=False,
    short_names=("ns",),
    subresources=(Subresource("finalize", ("update",)), STATUS),
    verbs=tuple(verb for verb in STORED_VERBS if verb != "deletecollection"),
    fields=("status.phase",),
)
PODS = Resource(
    "",
    "v1",
    "pods",
    "Pod",
    short_names=("po",),
    categories=("all",),
    subresources=(
        Subresource("attach", _STREAM_VERBS, kind="PodAttachOptions"),
        Subresource("binding", _ONLY_CREATED, kind="Binding"),
        Subresource("eviction", _ONLY_CREATED, "policy", "v1", "Eviction"),
        Subresource("exec", _STREAM_VERBS, kind="PodExecOptions"),
        Subresource("log", ("get",)),
        Subresource("portforward", _STREAM_VERBS, kind="PodPortForwardOptions"),
        Subresource("proxy", _PROXY_VERBS, kind="PodProxyOptions"),
        STATUS,
    ),
    fields=(
        "spec.hostNetwork",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.nominatedNodeName",
        "status.phase",
        "status.podIP",
    ),
    counts_generations=True,
    shown_when_deleted=True,
)
SERVICES = Resource(
    "",
    "v1",
    "services",
    "Service",
    short_names=("svc",),
    categories=("all",),
    subresources=(Subresource("proxy", _PROXY_VERBS, kind="ServiceProxyOptions"), STATUS),
    fields=("spec.clusterIP", "spec.type"),
    created_by_update=True,
    shown_when_deleted=True,
)
ENDPOINTS = Resource(
    "",
    "v1",
    "endpoints",
    "Endpoints",
    short_names=("ep",),
    created_by_update=True,
    warnings=("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",),
)
NODES = Resource(
    "",
    "v1",
    "nodes",
    "Node",
    namespaced=False,
    short_names=("no",),
    subresources=(STATUS,),
    fields=("spec.unschedulable",),
)
SECRETS = Resource("", "v1", "secrets", "Secret", fields=("type",))
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", short_names=("cm",))
SERVICE_ACCOUNTS = Resource(
    "",
    "v1",
    "serviceaccounts",
    "ServiceAccount",
    short_names=("sa",),
    subresources=(Subresource("token", _ONLY_CREATED, *_AUTHENTICATION, "TokenRequest"),),
    unconditional=False,
    shown_when_deleted=True,
)
EVENTS = Resource(
    "",
    "v1",
    "events",
    "Event",
    short_names=("ev",),
    fields=(*_OBJECT_REFERENCE, "reason", "reportingComponent", "source", "type"),
    created_by_update=True,
)
EVENT_VIEWS = Resource(
    "events.k8s.io",
    "v1",
    "events",
    "Event",
    short_names=("ev",),
    fields=(
        *(path.replace("involvedObject", "regarding") for path in _OBJECT_REFERENCE),
        "reason",
        "reportingController",
        "type",
    ),
    created_by_update=True,
    view=View(EVENTS, show_event, read_event, validate_new_event, core_field),
)
DEPLOYMENTS = Resource(
    "apps",
    "v1",
    "deployments",
    "Deployment",
    short_names=("deploy",),
    categories=("all",),
    subresources=(SCALE, STATUS),
    counts_generations=True,
)
REPLICA_SETS = Resource(
    "apps",
    "v1",
    "replicasets",
    "ReplicaSet",
    short_names=("rs",),
    categories=("all",),
    subresources=(SCALE, STATUS),
    fields=("status.replicas",),
    counts_generations=True,
)
STATEFUL_SETS = Resource(
    "apps",
    "v1",
    "statefulsets",
    "StatefulSet",
    short_names=("sts",),
    categories=("all",),
    subresources=(SCALE, STATUS),
    counts_generations=True,
)
DAEMON_SETS = Resource(
    "apps",
    "v1",
    "daemonsets",
    "DaemonSet",
    short_names=("ds",),
    categories=("all",),
    subresources=(STATUS,),
    counts_generations=True,
)
CRON_JOBS = Resource(
    "batch",
    "v1",
    "cronjobs",
    "CronJob",
    short_names=("cj",),
    categories=("all",),
    subresources=(STATUS,),
    counts_generations=True,
)
JOBS = Resource(
    "batch",
    "v1",
    "jobs",
    "Job",
    categories=("all",),
    subresources=(STATUS,),
    fields=("status.successful",),
    counts_generations=True,
)
ENDPOINT_SLICES = Resource(
    "discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", counts_generations=True
)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", created_by_update=True, unconditional=False)
ROLES = Resource(*_RBAC, "roles", "Role", created_by_update=True)
ROLE_BINDINGS = Resource(*_RBAC, "rolebindings", "RoleBinding", created_by_update=True)
CLUSTER_ROLES = Resource(*_RBAC, "clusterroles", "ClusterRole", namespaced=False, created_by_update=True)
CLUSTER_ROLE_BINDINGS = Resource(
    *_RBAC, "clusterrolebindings", "ClusterRoleBinding", namespaced=False, created_by_update=True
)
POD_DISRUPTION_BUDGETS = Resource(
    "policy",
    "v1",
    "poddisruptionbudgets",
    "PodDisruptionBudget",
    short_names=("pdb",),
    subresources=(STATUS,),
    counts_generations=True,
    unconditional=False,
)
CUSTOM_RESOURCE_DEFINITIONS = Resource(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    subresources=(STATUS,),
    counts_generations=True,
    unconditional=False,
)
TOKEN_REVIEWS = Resource(
    *_AUTHENTICATION, "tokenreviews", "TokenReview", namespaced=False, verbs=_ONLY_CREATED
)
SELF_SUBJECT_REVIEWS = Resource(
    *_AUTHENTICATION, "selfsubjectreviews", "SelfSubjectReview", namespaced=False, verbs=_ONLY_CREATED
)
SUBJECT_ACCESS_REVIEWS = Resource(
    *_AUTHORIZATION, "subjectaccessreviews", "SubjectAccessReview", namespaced=False, verbs=_ONLY_CREATED
)
LOCAL_SUBJECT_ACCESS_REVIEWS = Resource(
    *_AUTHORIZATION, "localsubjectaccessreviews", "LocalSubjectAccessReview", verbs=_ONLY_CREATED
)
SELF_SUBJECT_ACCESS_REVIEWS = Resource(
    *_AUTHORIZATION,
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    namespaced=False,
    verbs=_ONLY_CREATED,
)
SELF_SUBJECT_RULES_REVIEWS = Resource(
    *_AUTHORIZATION,
    "selfsubjectrulesreviews",
    "SelfSubjectRulesReview",
    namespaced=False,
    verbs=_ONLY_CREATED,
)

BUILT_IN = (
    CONFIG_MAPS,
    ENDPOINTS,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    DAEMON_SETS,
    DEPLOYMENTS,
    REPLICA_SETS,
    STATEFUL_SETS,
    CRON_JOBS,
    JOBS,
    EVENT_VIEWS,
    SELF_SUBJECT_REVIEWS,
    TOKEN_REVIEWS,
    LOCAL_SUBJECT_ACCESS_REVIEWS,
    SELF_SUBJECT_ACCESS_REVIEWS,
    SELF_SUBJECT_RULES_REVIEWS,
    SUBJECT_ACCESS_REVIEWS,
    POD_DISRUPTION_BUDGETS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    ROLES,
    LEASES,
    ENDPOINT_SLICES,
    CUSTOM_RESOURCE_DEFINITIONS,
)

GROUPS = frozenset(one.group for one in BUILT_IN)
"""The groups of this table."""


class Kinds:
    """The kinds that are served, found by path and in the order of discovery."""

    def __init__(self, resources: Iterable[Resource] = BUILT_IN) -> None:
        self._by_path = {(one.group, one.version, one.plural): one for one in resources}
        self._custom: dict[tuple[str, str], Sequence[Resource]] = {}

    def define(self, group: str, plural: str, versions: Sequence[Resource]) -> None:
        """Serve a custom kind at these versions from now on, the preferred one first; or no longer."""
        if versions:
            self._custom[group, plural] = versions
        else:
            self._custom.pop((group, plural), None)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The kind at `/apis/GROUP/VERSION/PLURAL`, if it is served."""
        custom = (one for one in self._custom.get((group, plural), ()) if one.version == version)
        return self._by_path.get((group, version, plural)) or next(custom, None)

    def named(self, group: str, plural: str) -> Resource | None:
        """The kind of that group, whatever its version."""
        return next((one for one in self if (one.group, one.plural) == (group, plural)), None)

    def __iter__(self) -> Iterator[Resource]:
        return chain(self._by_path.values(), *self._custom.values())

    def stored(self) -> Iterator[Resource]:
        """Every kind that has objects of its own, once, whatever its versions."""
        return iter({one.place: one for one in self if one.view is None}.values())

    def versions(self) -> dict[str, list[str]]:
        """The versions of each group, the preferred one first."""
        groups: dict[str, list[str]] = {}
        for one in self:
            versions = groups.setdefault(one.group, [])
            if one.version not in versions:
                versions.append(one.version)
        return groups
