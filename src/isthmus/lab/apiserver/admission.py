"""What is decided about a new object by looking at others: its namespace, its account, its addresses.

Source: the admission plug-ins NamespaceLifecycle, ServiceAccount, DefaultTolerationSeconds and Priority, and
the escalation check of RBAC, as far as this server's kinds go.
"""

from isthmus.lab.apiserver import definitions, kinds
from isthmus.lab.apiserver.allocation import allocate, keep_allocated
from isthmus.lab.apiserver.authn import User
from isthmus.lab.apiserver.cluster import Cluster
from isthmus.lab.apiserver.errors import forbidden, invalid, not_found
from isthmus.lab.apiserver.objects import Object, items, metadata, name_of, namespace_of, section, strings
from isthmus.lab.apiserver.rbac import Attributes, covers
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.store import Key

PROTECTED_NAMESPACES = ("default", "kube-system", "kube-public")
_ACCOUNT_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_TOKEN_SECONDS = 3607
_EVICTED_AFTER = 300
_SUFFIX = 5


def admit_namespace(cluster: Cluster, resource: Resource, object_: Object) -> None:
    """Refuse what is created in a namespace that does not exist (404) or is being deleted (403)."""
    if not resource.namespaced:
        return
    namespace = namespace_of(object_)
    found = cluster.store.get(kinds.NAMESPACES, Key("", namespace))
    if found is None:
        raise not_found("", "namespaces", namespace)
    if "deletionTimestamp" in metadata(found.object):
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        refused = forbidden(resource.group, resource.plural, name_of(object_), why)
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {namespace} is being terminated",
            "field": "metadata.namespace",
        }
        refused.details = {**(refused.details or {}), "causes": [cause]}
        raise refused


def admit_created(cluster: Cluster, resource: Resource, object_: Object, user: User) -> None:
    """Complete a new object from the state of the cluster, or refuse it."""
    if resource is kinds.PODS:
        _admit_pod(cluster, object_)
    elif resource is kinds.SERVICES:
        _admit_service(cluster, object_, None)
    elif resource is kinds.CUSTOM_RESOURCE_DEFINITIONS:
        meta = metadata(object_)
        meta["finalizers"] = [*strings(meta, "finalizers"), definitions.CLEANUP]
        admit_definition(cluster, object_)
    else:
        _admit_grant(cluster, resource, object_, user)


def admit_definition(cluster: Cluster, definition: Object) -> None:
    """Set the status of a definition, beside all others."""
    rules = kinds.CUSTOM_RESOURCE_DEFINITIONS
    if not any(definitions.validate_definition(definition)):
        definitions.establish(definition, (stored.object for stored in cluster.store.values(rules)))


def admit_updated(cluster: Cluster, resource: Resource, object_: Object, old: Object, user: User) -> None:
    """Complete a changed object from the state of the cluster, or refuse it."""
    if resource is kinds.SERVICES:
        keep_allocated(object_, old)
        _admit_service(cluster, object_, old)
    elif resource is kinds.CUSTOM_RESOURCE_DEFINITIONS:
        admit_definition(cluster, object_)
    elif any(object_.get(field) != old.get(field) for field in ("rules", "subjects", "roleRef")):
        _admit_grant(cluster, resource, object_, user)


def _admit_service(cluster: Cluster, service: Object, old: Object | None) -> None:
    others = (stored.object for stored in cluster.store.values(kinds.SERVICES))
    causes = list(allocate(service, old, others, cluster.settings.service_cidr))
    if causes:
        raise invalid("", "Service", name_of(service), causes)


def _admit_pod(cluster: Cluster, pod: Object) -> None:
    spec = pod["spec"]
    name = spec.setdefault("serviceAccountName", "default") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    account = cluster.store.get(kinds.SERVICE_ACCOUNTS, Key(namespace_of(pod), name))
    if account is None:
        why = (
            f'error looking up service account {namespace_of(pod)}/{name}: serviceaccount "{name}" not found'
        )
        raise forbidden("", "pods", name_of(pod), why)
    if not spec.get("imagePullSecrets") and account.object.get("imagePullSecrets"):
        spec["imagePullSecrets"] = account.object["imagePullSecrets"]
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.object.get("automountServiceAccountToken")
    if wanted is not False:
        _mount_token(pod)
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    _tolerate_outages(spec)


def _mount_token(pod: Object) -> None:
    spec = pod["spec"]
    containers = items(spec, "containers") + items(spec, "initContainers")
    unmounted = [
        one
        for one in containers
        if all(mount.get("mountPath") != _ACCOUNT_MOUNT for mount in items(one, "volumeMounts"))
    ]
    if not unmounted:
        return
    volume = f"kube-api-access-{metadata(pod)['uid'].replace('-', '')[:_SUFFIX]}"
    for container in unmounted:
        mount = {"name": volume, "readOnly": True, "mountPath": _ACCOUNT_MOUNT}
        container["volumeMounts"] = [*items(container, "volumeMounts"), mount]
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    authority = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    sources: list[Object] = [
        {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}},
        {"configMap": authority},
        {"downwardAPI": {"items": [namespace]}},
    ]
    projected = {"sources": sources, "defaultMode": 0o644}
    spec["volumes"] = [*items(spec, "volumes"), {"name": volume, "projected": projected}]


def _tolerate_outages(spec: Object) -> None:
    tolerations = items(spec, "tolerations")
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(
            one.get("key") in (key, None, "") and one.get("effect", "NoExecute") == "NoExecute"
            for one in tolerations
        ):
            tolerated = {"key": key, "operator": "Exists", "effect": "NoExecute"}
            tolerations = [*tolerations, {**tolerated, "tolerationSeconds": _EVICTED_AFTER}]
    spec["tolerations"] = tolerations


def _admit_grant(cluster: Cluster, resource: Resource, object_: Object, user: User) -> None:
    """Nobody grants more than they hold, but for those who may `escalate` roles or `bind` them."""
    if resource in (kinds.ROLES, kinds.CLUSTER_ROLES):
        rules, verb, target, role_name = items(object_, "rules"), "escalate", resource, name_of(object_)
    elif resource in (kinds.ROLE_BINDINGS, kinds.CLUSTER_ROLE_BINDINGS):
        reference = section(object_, "roleRef")
        target = kinds.ROLES if reference.get("kind") == "Role" else kinds.CLUSTER_ROLES
        role_name, verb = reference.get("name", ""), "bind"
        place = Key(namespace_of(object_) if target.namespaced else "", role_name)
        role = cluster.store.get(target, place)
        rules = items(role.object, "rules") if role else []
        if role is None and not _may(cluster, user, verb, target, object_, role_name):
            raise not_found(target.group, target.plural, role_name)
    else:
        return
    if _may(cluster, user, verb, target, object_, role_name):
        return
    held = cluster.authorizer.rules(user, namespace_of(object_))
    missing = [rule for rule in rules if not covers(held, rule)]
    if missing:
        groups = " ".join(f'"{group}"' for group in user.groups)
        who = f'user "{user.name}" (groups=[{groups}])'
        why = f"{who} is attempting to grant RBAC permissions not currently held"
        shown = "\n".join(_shown_rule(rule) for rule in missing)
        raise forbidden(resource.group, resource.plural, name_of(object_), f"{why}:\n{shown}")


def _may(cluster: Cluster, user: User, verb: str, target: Resource, object_: Object, name: str) -> bool:
    wanted = Attributes(verb, target.group, target.version, target.plural, "", namespace_of(object_), name)
    return cluster.authorizer.allows(user, wanted)


def _shown_rule(rule: Object) -> str:
    fields = (
        ("apiGroups", "APIGroups"),
        ("resources", "Resources"),
        ("resourceNames", "ResourceNames"),
        ("nonResourceURLs", "NonResourceURLs"),
        ("verbs", "Verbs"),
    )
    parts = [
        f"{shown}:[{', '.join(f'{chr(34)}{one}{chr(34)}' for one in rule[field])}]"
        for field, shown in fields
        if rule.get(field)
    ]
    return "{" + ", ".join(parts) + "}"
