"""The table of kinds that this server knows; discovery, routing, storage and checks are all driven by it.

Adding a kind is one row here; its own rules, if it has any, go into `rules`, its columns into `tables`.
"""

from isthmus.lab.apiserver.events import core_field, read_event, show_event, validate_new_event
from isthmus.lab.apiserver.resource import SCALE, STATUS, STORED_VERBS, Resource, Subresource, View

_STREAM_VERBS = ("create", "get")
_PROXY_VERBS = ("create", "delete", "get", "patch", "update")
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
SERVICE_CIDRS = Resource(
    "networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", namespaced=False, subresources=(STATUS,)
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
    SERVICE_CIDRS,
    CUSTOM_RESOURCE_DEFINITIONS,
)

GROUPS = frozenset(one.group for one in BUILT_IN)
"""The groups of this table."""
