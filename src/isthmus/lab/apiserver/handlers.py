"""One request, from who asks to the answer: authenticate, authorise, find the kind, dispatch on the verb."""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import structlog
from aiohttp import web

from isthmus.lab.apiserver import (
    applying,
    bootstrap,
    deletion,
    errors,
    formats,
    kinds,
    kubelet,
    options,
    reading,
    reviews,
    schema,
    subresources,
    tables,
    writing,
)
from isthmus.lab.apiserver.authn import ANONYMOUS, User, user_of_certificate
from isthmus.lab.apiserver.cluster import Cluster
from isthmus.lab.apiserver.errors import RefusedError
from isthmus.lab.apiserver.impersonation import impersonation_modes, wanted_user
from isthmus.lab.apiserver.objects import Object, name_of
from isthmus.lab.apiserver.patches import APPLY_PATCH, CUSTOM_PATCH_TYPES, PATCH_TYPES, SCALE_PATCH_TYPES
from isthmus.lab.apiserver.paths import answer_path, no_page
from isthmus.lab.apiserver.proxying import Proxy
from isthmus.lab.apiserver.rbac import Attributes, refusal
from isthmus.lab.apiserver.requests import Target, flag, read_attributes
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.store import Key, encode_object
from isthmus.lab.apiserver.tokens import BadTokenError
from isthmus.lab.apiserver.watching import WatchForm, serve_watch
from isthmus.lab.apiserver.workloads import scale_of

_log = structlog.get_logger()
_NOT_BUILT = ("nodes/proxy", "pods/ephemeralcontainers", "pods/resize")
_OF_ONE = ("delete", "get", "patch", "update")
"""Verbs whose path names an object."""
_PROXIED = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


class Front:
    """The handler of all requests to one cluster's API."""

    def __init__(self, cluster: Cluster, kubelets: kubelet.Kubelets, proxy: Proxy) -> None:
        self._cluster = cluster
        self._kubelets = kubelets
        self._proxy = proxy

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer any request; refusals become `Status` objects, and a bug becomes a 500 that is logged."""
        return formats.as_accepted(request.headers.get("Accept", ""), await self._handle(request))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except RefusedError as refused:
            return formats.answer(refused.status(), refused.code)
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001 - one broken request must not end the server
            _log.exception("request failed", method=request.method, path=request.path)
            internal = RefusedError(500, "InternalError", "Internal error occurred: see the server's log")
            return formats.answer(internal.status(), 500)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        wanted = read_attributes(request.method, request.path, request.query)
        user = self._impersonated(request, self._authenticate(request), wanted)
        self._allow(user, wanted)
        if wanted.path:
            return answer_path(self._cluster, request)
        resource = self._cluster.kinds.find(wanted.group, wanted.version, wanted.resource)
        if resource is None or resource.namespaced < bool(
            wanted.namespace and resource is not kinds.NAMESPACES
        ):
            if wanted.group not in kinds.GROUPS:
                return no_page()
            raise errors.page_not_found()
        return await self._answer_resource(request, user, resource, wanted)

    def _authenticate(self, request: web.Request) -> User:
        transport = request.transport
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object") if transport is not None else None
        certificate = tls.getpeercert() if tls is not None else None
        if tls is not None and certificate:  # goes before a token, be that good or bad
            return user_of_certificate(certificate, tls.getpeercert(binary_form=True) or b"")
        header = request.headers.get("Authorization", "")
        if header[:7].lower() == "bearer ":
            try:
                return self._cluster.authenticator.authenticate(header[7:].strip())[0]
            except BadTokenError:
                raise errors.unauthorized() from None
        return ANONYMOUS

    def _impersonated(self, request: web.Request, user: User, asked: Attributes) -> User:
        """The user that the request is to be taken for, if its own user may impersonate that one."""
        other = wanted_user(request.headers)
        if other is None:
            return user
        modes = list(impersonation_modes(other, user, asked))
        for mode in modes:
            if all(self._cluster.authorizer.allows(user, right) for right in mode.rights):
                return mode.user
        for right in modes[0].rights:  # what is told is why the first did not do
            self._allow(user, right)
        raise AssertionError("one of them is not allowed")

    def _allow(self, user: User, wanted: Attributes) -> None:
        """403 unless the user may do it."""
        if self._cluster.authorizer.allows(user, wanted):
            return
        why = refusal(user, wanted)
        if wanted.path:
            raise RefusedError(403, "Forbidden", f"forbidden: {why}", {})
        raise errors.forbidden(wanted.group, wanted.resource, wanted.name, why)

    async def _answer_resource(
        self, request: web.Request, user: User, resource: Resource, wanted: Attributes
    ) -> web.StreamResponse:
        namespace = wanted.namespace if resource.namespaced else ""
        if resource.namespaced and not namespace and wanted.name and wanted.verb in _OF_ONE:
            raise errors.page_not_found()
        connects = wanted.subresource == "proxy" or wanted.subresource in kubelet.STREAMING
        if connects and resource.subresource(wanted.subresource) and "dryRun" in request.query:
            raise errors.bad_request("dryRun is not supported")
        if wanted.subresource == "proxy" and resource.subresource("proxy"):  # its query is not for us
            if request.method not in _PROXIED:
                raise errors.method_not_allowed()
            return await self._proxy.serve(request, Target(resource, namespace, wanted.name, user))
        name = wanted.name if wanted.verb not in ("list", "watch", "deletecollection") else ""
        given = options.read_write_options(wanted.verb, request.query, request.headers.get("User-Agent", ""))
        strict = given.validation == "Strict"
        sub, dry = wanted.subresource, given.dry_run
        target = Target(resource, namespace, name, user, sub, dry, strict, given.manager)
        if wanted.subresource:
            sub = resource.subresource(wanted.subresource)
            if sub is None:
                path = f"{resource.plural}/{wanted.subresource}"
                raise errors.not_implemented(path) if path in _NOT_BUILT else errors.page_not_found()
            if wanted.verb not in sub.verbs:
                raise errors.method_not_allowed()
        elif wanted.verb not in resource.verbs or bool(name) != (wanted.verb in _OF_ONE):
            raise errors.method_not_allowed()
        if resource.virtual:
            body = await formats.read_body(request)
            return formats.answer(reviews.review(self._cluster, resource, namespace, user, body), 201)
        if wanted.subresource in kubelet.STREAMING:
            self._allow(user, replace(wanted, verb="create"))  # as POST is, which SPDY uses
            pod = reading.get(self._cluster, target.resource, target.key).object
            return await self._kubelets.serve_stream(request, pod, wanted.subresource)
        answers: dict[str, Callable[[web.Request, Target], Awaitable[web.StreamResponse]]] = {
            "get": self._get,
            "list": self._list,
            "watch": self._watch,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_all,
        }
        if resource.namespaced and not namespace and wanted.verb not in ("list", "watch"):
            raise errors.method_not_allowed()
        return await answers[wanted.verb](request, target)

    async def _get(self, request: web.Request, target: Target) -> web.StreamResponse:
        stored = reading.get(self._cluster, target.resource, target.key)
        if target.subresource == "log":
            return await self._kubelets.serve_logs(request, stored.object)
        if target.subresource == "scale":
            return formats.answer(scale_of(target.resource, stored.object))
        form = formats.accepted(request.headers.get("Accept", ""))
        warnings = target.resource.warnings
        if not form.form:
            return formats.answer(stored.encoded_as(target.resource), warnings=warnings)
        return formats.answer(self._shown(request, target.resource, form)(stored.object), warnings=warnings)

    async def _list(self, request: web.Request, target: Target) -> web.StreamResponse:
        form = formats.accepted(request.headers.get("Accept", ""))
        query = dict(request.query)
        page = reading.list_page(self._cluster, target.resource, target.namespace, query)
        warnings = target.resource.warnings
        if not form.form:
            return formats.answer(reading.encode_page(page), warnings=warnings)
        objects = [one.object for one in page.found]
        if form.form == "Table":
            table = tables.table(target.resource, objects, page.meta, options.included_object(request.query))
            return formats.answer(table, warnings=warnings)
        return formats.answer(formats.partial_list(objects, page.meta), warnings=warnings)

    async def _watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        form = formats.accepted(request.headers.get("Accept", ""))
        converted = target.resource.as_stored is not target.resource
        show = self._shown(request, target.resource, form) if form.form or converted else None
        watch_form = WatchForm(show) if show else None
        return await serve_watch(self._cluster, request, target.resource, target.namespace, watch_form)

    async def _create(self, request: web.Request, target: Target) -> web.StreamResponse:
        body = await formats.read_body(request)
        if target.subresource:
            made = subresources.create_below(self._cluster, target, body)
            return formats.answer(made, 201)
        body, warnings = self._validated(request, target, body)
        place, body = writing.stored_form(target, body)
        if (view := target.resource.view) and (causes := list(view.validate_new(body))):
            raise errors.invalid(target.resource.group, target.resource.kind, name_of(body), causes)
        created = writing.create(self._cluster, place, body)
        return self._written(request, target, created, 201, warnings)

    async def _update(self, request: web.Request, target: Target) -> web.StreamResponse:
        body = await formats.read_body(request)
        if target.subresource == "scale":
            scaled = subresources.update_scale(self._cluster, target, body)
            return formats.answer(scale_of(target.resource, scaled))
        if target.subresource == "finalize":
            return self._written(request, target, subresources.finalize(self._cluster, target, body))
        body, warnings = self._validated(request, target, body)
        updated, created = writing.update(self._cluster, *writing.stored_form(target, body))
        return self._written(request, target, updated, 201 if created else 200, warnings)

    async def _patch(self, request: web.Request, target: Target) -> web.StreamResponse:
        known = PATCH_TYPES if target.resource.definition is None else CUSTOM_PATCH_TYPES
        if target.resource.view is not None:
            known = tuple(one for one in known if one != APPLY_PATCH)
        if target.subresource == "scale":
            known = SCALE_PATCH_TYPES
        media_type, body = await formats.read_patch(request, known)
        force = "force" in request.query
        if media_type == APPLY_PATCH:
            named = replace(target, manager=request.query.get("fieldManager", ""))
            applied, created = applying.apply(self._cluster, named, body, force=flag(request.query, "force"))
            return self._written(request, target, applied, 201 if created else 200)
        if force:
            causes = [errors.forbidden_value("force", "may not be specified for non-apply patch")]
            raise errors.invalid("meta.k8s.io", "PatchOptions", "", causes)
        if target.subresource == "scale":
            scale = scale_of(target.resource, writing.current(self._cluster, target).object)
            patched = subresources.patched_scale(media_type, scale, body)
            scaled = subresources.update_scale(self._cluster, target, patched)
            return formats.answer(scale_of(target.resource, scaled))
        patched, unknown = writing.patch(self._cluster, target, media_type, body)
        return self._written(request, target, patched, warnings=_unknown_fields(request, unknown))

    async def _delete(self, request: web.Request, target: Target) -> web.StreamResponse:
        asked = deletion.read_options(await formats.read_body(request), dict(request.query))
        stored = writing.current(self._cluster, target)
        last, gone = deletion.delete(self._cluster, target, stored, asked)
        if gone and not target.resource.shown_when_deleted:
            return self._written(request, target, subresources.deleted(target, last))
        return self._written(request, target, last, 202 if asked.awaited and not gone else 200)

    async def _delete_all(self, request: web.Request, target: Target) -> web.StreamResponse:
        asked = deletion.read_options(await formats.read_body(request), dict(request.query))
        page = reading.list_page(self._cluster, target.resource, target.namespace, dict(request.query))
        for stored in page.found:
            key = Key(stored.object["metadata"].get("namespace", ""), stored.object["metadata"]["name"])
            one = Target(target.resource, key.namespace, key.name, target.user, dry_run=target.dry_run)
            deletion.delete(self._cluster, one, stored, asked)
        return formats.answer(reading.encode_page(page))

    def _validated(self, request: web.Request, target: Target, body: Any) -> tuple[Any, Sequence[str]]:
        """The body with the fields that its kind has, and what to warn the client of."""
        resource = target.resource
        typed, unknown = writing.read_object(body, resource)
        if unknown and target.strict:
            raise schema.strictly(resource.kind, resource.version, unknown)
        return typed, _unknown_fields(request, unknown)

    def _written(
        self,
        request: web.Request,
        target: Target,
        object_: Object,
        code: int = 200,
        warnings: Sequence[str] = (),
    ) -> web.StreamResponse:
        resource = target.resource
        if resource is kinds.CLUSTER_ROLES:
            bootstrap.aggregate_roles(self._cluster)
        if object_.get("kind") == "Status" and "uid" not in object_.get("metadata", {}):
            return formats.answer(object_, code)
        form = formats.accepted(request.headers.get("Accept", ""))
        if form.form:
            return formats.answer(self._shown(request, resource, form)(object_), code)
        return formats.answer(
            encode_object(resource, object_), code, warnings=(*resource.warnings, *warnings)
        )

    def _shown(
        self, request: web.Request, resource: Resource, form: formats.Accepted
    ) -> Callable[[Object], Object]:
        if not form.form:
            view = resource.view
            return lambda object_: {
                **(view.show(object_) if view is not None else object_),
                "kind": resource.kind,
                "apiVersion": resource.group_version,
            }
        if form.form != "Table":
            return formats.partial
        include = options.included_object(request.query)

        shown = 0

        def as_table(object_: Object) -> Object:
            nonlocal shown
            shown += 1
            meta = {"resourceVersion": object_["metadata"].get("resourceVersion", "")}
            table = tables.table(resource, [object_], meta, include)
            return table if shown == 1 else {**table, "columnDefinitions": None}  # a watch says them once

        return as_table


def _unknown_fields(request: web.Request, paths: Sequence[str]) -> Sequence[str]:
    """What to warn of, unless the client does not want to know."""
    if request.query.get("fieldValidation") == "Ignore":
        return ()
    return [f'unknown field "{path}"' for path in paths]
