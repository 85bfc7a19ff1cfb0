"""Questions that are asked by POST and stored nowhere: whose token is this, may they do that, who am I."""

from collections.abc import Callable, Mapping
from typing import Any

from isthmus.lab.apiserver import kinds, writing
from isthmus.lab.apiserver.authn import User
from isthmus.lab.apiserver.cluster import Cluster
from isthmus.lab.apiserver.errors import Cause, bad_request, invalid, invalid_value
from isthmus.lab.apiserver.objects import Object, section, strings
from isthmus.lab.apiserver.rbac import Attributes
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.tokens import BadTokenError


def review(cluster: Cluster, resource: Resource, namespace: str, user: User, body: Any) -> Object:
    """The review with its status filled in."""
    object_ = writing.check_type(body, resource.kind, resource.group_version)
    spec = section(object_, "spec")
    status = _ANSWERS[resource](cluster, resource, spec, user, namespace)
    return {
        "kind": resource.kind,
        "apiVersion": resource.group_version,
        "metadata": object_["metadata"],
        **({"spec": spec} if resource is not kinds.SELF_SUBJECT_REVIEWS else {}),
        "status": status,
    }


def _token(cluster: Cluster, _r: Resource, spec: Object, _u: User, _n: str) -> Object:
    token = spec.get("token", "")
    if not token:
        raise bad_request("token is required for TokenReview in authentication")
    try:
        user, audiences = cluster.authenticator.authenticate(token, strings(spec, "audiences"))
    except BadTokenError as bad:
        return {"user": {}, "error": f"[invalid bearer token, {bad}]"}
    status: Object = {"authenticated": True, "user": user.info()}
    return {**status, "audiences": audiences}


def _access(cluster: Cluster, resource: Resource, spec: Object, user: User, namespace: str) -> Object:
    asked, path = section(spec, "resourceAttributes"), section(spec, "nonResourceAttributes")
    own = resource is kinds.SELF_SUBJECT_ACCESS_REVIEWS
    causes: list[Cause] = []
    if asked and path:
        text = "cannot be specified in combination with resourceAttributes"
        causes.append(invalid_value("spec.nonResourceAttributes", path, text))
    elif not asked and not path:
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        causes.append(invalid_value("spec.resourceAttributes", None, text))
    if not own and not spec.get("user") and not spec.get("groups"):
        causes.append(invalid_value("spec.user", "", "at least one of user or group must be specified"))
    if resource is kinds.LOCAL_SUBJECT_ACCESS_REVIEWS and asked.get("namespace", "") != namespace:
        text = f"must match metadata.namespace: {namespace}"
        causes.append(invalid_value("spec.resourceAttributes.namespace", asked.get("namespace", ""), text))
    if causes:
        raise invalid(resource.group, resource.kind, "", causes)
    subject = user if own else User(spec.get("user", ""), tuple(strings(spec, "groups")), spec.get("uid", ""))
    reason = cluster.authorizer.reason(subject, _attributes(asked, path))
    if reason is None:
        return {"allowed": False}
    return {"allowed": True, "reason": reason} if reason else {"allowed": True}


def _attributes(asked: Object, path: Object) -> Attributes:
    if path:
        return Attributes(path.get("verb", ""), path=path.get("path", ""))
    names = ("verb", "group", "version", "resource", "subresource", "namespace", "name")
    return Attributes(**{name: asked.get(name) or "" for name in names})


def _rules(cluster: Cluster, _r: Resource, spec: Object, user: User, _n: str) -> Object:
    namespace = spec.get("namespace", "")
    if not namespace:
        raise bad_request("no namespace on request")
    resource_rules: list[Object] = []
    path_rules: list[Object] = []
    for rule in cluster.authorizer.rules(user, namespace):
        names = ("verbs", "nonResourceURLs") if rule.get("nonResourceURLs") else _RULE_FIELDS
        chosen = {name: rule[name] for name in names if rule.get(name)}
        (path_rules if rule.get("nonResourceURLs") else resource_rules).append(chosen)
    return {"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": False}


def _self(_c: Cluster, _r: Resource, _s: Object, user: User, _n: str) -> Object:
    return {"userInfo": user.info()}


_RULE_FIELDS = ("verbs", "apiGroups", "resources", "resourceNames")
_ANSWERS: Mapping[Resource, Callable[[Cluster, Resource, Object, User, str], Object]] = {
    kinds.TOKEN_REVIEWS: _token,
    kinds.SUBJECT_ACCESS_REVIEWS: _access,
    kinds.LOCAL_SUBJECT_ACCESS_REVIEWS: _access,
    kinds.SELF_SUBJECT_ACCESS_REVIEWS: _access,
    kinds.SELF_SUBJECT_RULES_REVIEWS: _rules,
    kinds.SELF_SUBJECT_REVIEWS: _self,
}
