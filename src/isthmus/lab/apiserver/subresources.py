"""The paths below an object, but for its status: binding, eviction, scale, token, finalize. Synchronous."""

import time
from dataclasses import replace
from typing import Any

from isthmus.lab.apiserver import deletion, kinds, tokens, writing
from isthmus.lab.apiserver.cluster import Cluster
from isthmus.lab.apiserver.errors import (
    RefusedError,
    about,
    bad_request,
    conflict,
    invalid,
    invalid_value,
    not_found,
    required,
    success,
    unsupported,
)
from isthmus.lab.apiserver.objects import Object, copy, items, metadata, name_of, now, section
from isthmus.lab.apiserver.patches import apply_patch
from isthmus.lab.apiserver.requests import Target
from isthmus.lab.apiserver.selectors import selects
from isthmus.lab.apiserver.store import Key
from isthmus.lab.apiserver.workloads import scaled

_SHORTEST_TOKEN = 600
_LONGEST_TOKEN = 1 << 32
_HOUR = 3600


def create_below(cluster: Cluster, target: Target, body: Any) -> Object:
    """POST to a subresource; the answer's object."""
    match target.subresource:
        case "binding":
            return bind(cluster, target, body)
        case "eviction":
            return evict(cluster, target, body)
        case _:
            return request_token(cluster, target, body)


def bind(cluster: Cluster, target: Target, body: Any) -> Object:
    """Assign a Pod to a node, as a scheduler does."""
    binding = writing.check_type(body, "Binding", "v1")
    _check_name(target, binding, "Binding")
    node, kind = (section(binding, "target").get(part, "") for part in ("name", "kind"))
    faults = [unsupported("target.kind", kind, ("Node", "<empty>"))] if kind not in ("", "Node") else []
    if faults := [*faults, *([] if node else [required("target.name")])]:
        listed = ", ".join(map(str, faults))
        raise RefusedError(500, "", f"[{listed}]" if len(faults) > 1 else listed)  # as Kubernetes has it
    pod = writing.current(cluster, target).object
    if section(pod, "spec").get("nodeName"):
        assigned = pod["spec"]["nodeName"]
        why = f'pod {target.name} is already assigned to node "{assigned}"'
        raise conflict("", "pods/binding", target.name, why)
    if "deletionTimestamp" in metadata(pod):
        raise conflict(
            "", "pods/binding", target.name, f"pod {target.name} is being deleted, cannot be assigned"
        )
    bound = copy(pod)
    bound["spec"]["nodeName"] = node
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now()}
    others = [one for one in items(bound["status"], "conditions") if one.get("type") != "PodScheduled"]
    bound["status"]["conditions"] = [*others, scheduled]
    if not target.dry_run:
        cluster.store.commit(kinds.PODS, target.key, bound)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def evict(cluster: Cluster, target: Target, body: Any) -> Object:
    """Delete a Pod unless a disruption budget forbids it (429)."""
    eviction = writing.check_type(body, "Eviction", "policy/v1")
    _check_name(target, eviction, "Eviction")
    stored = writing.current(cluster, target)
    options = deletion.read_options(eviction.get("deleteOptions"), {})
    for budget in cluster.store.values(kinds.POD_DISRUPTION_BUDGETS, target.namespace):
        spec, status = section(budget.object, "spec"), section(budget.object, "status")
        matched = "selector" in spec and selects(section(spec, "selector"))(stored.object)
        if not matched or status.get("disruptionsAllowed", 0) > 0:
            continue
        name = metadata(budget.object)["name"]
        message = (
            f"The disruption budget {name} needs {status.get('desiredHealthy', 0)} healthy pods "
            f"and has {status.get('currentHealthy', 0)} currently"
        )
        text = "Cannot evict pod as it would violate the pod's disruption budget."
        causes = [{"reason": "DisruptionBudget", "message": message}]
        raise RefusedError(429, "TooManyRequests", text, {"causes": causes})
    deletion.delete(cluster, target, stored, options)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _check_name(target: Target, body: Object, kind: str) -> None:
    if name_of(body) != target.name:
        raise bad_request(f"name in URL does not match name in {kind} object")


def request_token(cluster: Cluster, target: Target, body: Any) -> Object:
    """Issue a service-account token, bound to what the TokenRequest names."""
    request = writing.check_type(body, "TokenRequest", "authentication.k8s.io/v1")
    account = writing.current(cluster, target).object
    spec = section(request, "spec")
    seconds = int(spec.get("expirationSeconds") or _HOUR)
    path = "spec.expirationSeconds"
    if seconds < _SHORTEST_TOKEN:
        cause = invalid_value(path, seconds, "may not specify a duration less than 10 minutes")
        raise invalid("authentication.k8s.io", "TokenRequest", target.name, [cause])
    if seconds > _LONGEST_TOKEN:
        cause = invalid_value(path, seconds, "may not specify a duration larger than 2^32 seconds")
        raise invalid("authentication.k8s.io", "TokenRequest", target.name, [cause])
    issued = int(time.time())
    claims = tokens.bound_claims(
        namespace=target.namespace,
        account=account,
        audiences=spec.get("audiences") or [tokens.ISSUER],
        now=issued,
        seconds=seconds,
        bound=_bound_to(cluster, target, section(spec, "boundObjectRef")),
    )
    request["metadata"] = {"name": target.name, "namespace": target.namespace, "creationTimestamp": now()}
    request["spec"] = {
        "audiences": claims["aud"],
        "expirationSeconds": seconds,
        "boundObjectRef": spec.get("boundObjectRef"),
    }
    request["status"] = {
        "token": cluster.signer.sign(claims),
        "expirationTimestamp": now(after=seconds),
    }
    return {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", **request}


def _bound_to(cluster: Cluster, target: Target, reference: Object) -> Object:
    if not reference:
        return {}
    choices = {"Pod": kinds.PODS, "Secret": kinds.SECRETS, "Node": kinds.NODES}
    kind, name = reference.get("kind", ""), reference.get("name", "")
    if kind not in choices or reference.get("apiVersion") != "v1":
        raise bad_request(
            f"cannot bind token for serviceaccount to a {reference.get('apiVersion')}, Kind={kind}"
        )
    resource = choices[kind]
    found = cluster.store.get(resource, Key(target.namespace if resource.namespaced else "", name))
    if found is None:
        raise not_found("", resource.plural, name)
    uid = metadata(found.object)["uid"]
    if reference.get("uid") not in (None, "", uid):
        why = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
        raise conflict(
            "", resource.plural, name, why + "The object might have been deleted and then recreated"
        )
    if resource is kinds.PODS:
        pod = found.object
        if metadata(pod) and section(pod, "spec").get("serviceAccountName") != target.name:
            used = section(pod, "spec").get("serviceAccountName")
            why = f'cannot bind token for serviceaccount "{target.name}" to pod running with different '
            raise bad_request(f'{why}serviceaccount name "{used}".')
        return _with_node(cluster, pod, {"pod": {"name": name, "uid": uid}})
    return {kind.lower(): {"name": name, "uid": uid}}


def _with_node(cluster: Cluster, pod: Object, bound: Object) -> Object:
    node_name = section(pod, "spec").get("nodeName", "")
    if not node_name:
        return bound
    node: Object = {"name": node_name}
    found = cluster.store.get(kinds.NODES, Key("", node_name))
    if found is not None:
        node["uid"] = metadata(found.object)["uid"]
    return {**bound, "node": node}


def update_scale(cluster: Cluster, target: Target, scale: Any) -> Object:
    """Set the replicas of a workload through its Scale; the workload as it is stored then."""
    body = writing.check_type(scale, "Scale", "autoscaling/v1")
    replicas = section(body, "spec").get("replicas", 0)
    if not isinstance(replicas, int) or replicas < 0:
        cause = invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
        raise invalid("autoscaling", "Scale", target.name, [cause])
    old = writing.current(cluster, target)
    whole = replace(target, subresource="", through=target.subresource)
    return writing.replace(cluster, whole, old, copy(scaled(target.resource, old.object, body)))


def finalize(cluster: Cluster, target: Target, body: Any) -> Object:
    """Set a namespace's `spec.finalizers`; a namespace that is being deleted goes with the last one."""
    namespace = writing.check_type(body, "Namespace", "v1")
    old = writing.current(cluster, target)
    finalized = copy(old.object)
    finalized["spec"] = {
        **section(finalized, "spec"),
        "finalizers": section(namespace, "spec").get("finalizers"),
    }
    finalized["spec"] = {key: value for key, value in finalized["spec"].items() if value}
    version = metadata(namespace).get("resourceVersion")
    if version not in (None, "", old.object["metadata"]["resourceVersion"]):
        raise conflict("", "namespaces", target.name, writing.MODIFIED)
    if target.dry_run:
        return finalized
    if deletion.is_finished(kinds.NAMESPACES, finalized):
        cluster.store.commit(kinds.NAMESPACES, target.key, None)
        return finalized
    stored = cluster.store.commit(kinds.NAMESPACES, target.key, finalized)
    assert stored is not None
    return stored.object


def deleted(target: Target, last: Object) -> Object:
    """The `Status` that answers a delete after which nothing is left."""
    resource = target.resource
    return success(about(resource.group, resource.plural, target.name, uid=metadata(last)["uid"]))


def patched_scale(media_type: str, scale: Object, patch: Any) -> Object:
    """A Scale changed by a patch."""
    return apply_patch(kinds.DEPLOYMENTS, media_type, scale, patch)
