"""Refusals of the API server: exceptions that carry the `Status` a client gets, in Kubernetes' own words.

Source of reasons and texts: k8s.io/apimachinery, package api/errors, and apimachinery field errors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from isthmus.lab.apiserver.objects import Object, encode


@dataclass(frozen=True, slots=True)
class Cause:
    """One field's fault: `reason` as in `FieldValueInvalid`, `text` the part after the field's path."""

    field: str
    reason: str
    text: str

    def __str__(self) -> str:
        return f"{self.field}: {self.text}"


def required(path: str, text: str = "") -> Cause:
    """The field must be given."""
    return Cause(path, "FieldValueRequired", f"Required value: {text}" if text else "Required value")


def invalid_value(path: str, value: object, text: str) -> Cause:
    """The field's value breaks a rule."""
    return Cause(path, "FieldValueInvalid", f"Invalid value: {_shown(value)}: {text}")


def forbidden_value(path: str, text: str) -> Cause:
    """The field must not be given, or not be changed, here."""
    return Cause(path, "FieldValueForbidden", f"Forbidden: {text}")


def duplicate(path: str, value: object) -> Cause:
    """The value occurs twice where it must be unique."""
    return Cause(path, "FieldValueDuplicate", f"Duplicate value: {_shown(value)}")


def unsupported(path: str, value: object, supported: Sequence[str]) -> Cause:
    """The value is none of those that are allowed, which are shown as given."""
    allowed = ", ".join(f'"{one}"' for one in supported)
    return Cause(
        path, "FieldValueNotSupported", f"Unsupported value: {_shown(value)}: supported values: {allowed}"
    )


def too_long(path: str, most: int) -> Cause:
    """The value is longer than so many bytes."""
    return Cause(path, "FieldValueTooLong", f"Too long: may not be more than {most} bytes")


def _shown(value: object) -> str:
    return encode(value).decode()


@dataclass(slots=True)
class RefusedError(Exception):
    """Ends a request with a failure; `status()` is its body and `code` its HTTP status."""

    code: int
    reason: str
    message: str
    details: Object | None = None
    meta: Object = field(default_factory=dict[str, Any])
    """The `ListMeta` of the Status."""

    def __str__(self) -> str:
        return self.message

    def status(self) -> Object:
        """The `Status` object of this failure."""
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.meta,
            "status": "Failure",
            "message": self.message,
            **({"reason": self.reason} if self.reason else {}),
            "code": self.code,
        }
        if self.details is not None:
            status["details"] = self.details
        return status


def success(details: Object) -> Object:
    """The `Status` of a request that leaves nothing to show, such as a delete."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def about(group: str, what: str, name: str = "", **more: object) -> Object:
    """The `details` of a failure: what it was about; `what` is the plural, for Invalid the kind."""
    details: Object = {"name": name, "group": group, "kind": what, **more}
    return {key: value for key, value in details.items() if value not in ("", [])}


def qualified(group: str, plural: str) -> str:
    """A resource as messages name it: `deployments.apps`, `pods`."""
    return f"{plural}.{group}" if group else plural


def not_found(group: str, plural: str, name: str) -> RefusedError:
    """404: no object of that name."""
    text = f'{qualified(group, plural)} "{name}" not found'
    return RefusedError(404, "NotFound", text, about(group, plural, name))


def page_not_found() -> RefusedError:
    """404: no such resource, or path below one, in a group that is served."""
    return RefusedError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(group: str, plural: str, name: str) -> RefusedError:
    """409: the name is taken."""
    text = f'{qualified(group, plural)} "{name}" already exists'
    return RefusedError(409, "AlreadyExists", text, about(group, plural, name))


def conflict(group: str, plural: str, name: str, why: str) -> RefusedError:
    """409: the object is not as the caller believed; read again and retry."""
    text = f'Operation cannot be fulfilled on {qualified(group, plural)} "{name}": {why}'
    return RefusedError(409, "Conflict", text, about(group, plural, name))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def invalid(group: str, kind: str, name: str, causes: Sequence[Cause]) -> RefusedError:
    """422: the object breaks rules; every cause is named."""
    listed = [str(cause) for cause in causes]
    text = listed[0] if len(listed) == 1 else "[" + ", ".join(listed) + "]"
    details = about(
        group,
        kind,
        name,
        causes=[{"reason": cause.reason, "message": cause.text, "field": cause.field} for cause in causes],
    )
    return RefusedError(422, "Invalid", f'{qualified(group, kind)} "{name}" is invalid: {text}', details)


def bad_request(message: str) -> RefusedError:
    """400: the request cannot be understood."""
    return RefusedError(400, "BadRequest", message)


def unauthorized() -> RefusedError:
    """401: credentials were given but are not valid."""
    return RefusedError(401, "Unauthorized", "Unauthorized")


def forbidden(group: str, plural: str, name: str, why: str) -> RefusedError:
    """403: understood, and refused."""
    what = f'{qualified(group, plural)} "{name}"' if name else qualified(group, plural)
    return RefusedError(403, "Forbidden", f"{what} is forbidden: {why}", about(group, plural, name))


def method_not_allowed() -> RefusedError:
    """405: the resource exists but has no such verb."""
    text = "the server does not allow this method on the requested resource"
    return RefusedError(405, "MethodNotAllowed", text, {})


def not_acceptable() -> RefusedError:
    """406: none of the formats that the client accepts."""
    accepted = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    text = f"only the following media types are accepted: {accepted}"
    return RefusedError(406, "NotAcceptable", text)


def unsupported_media_type(accepted: Sequence[str]) -> RefusedError:
    """415: the body's format is none of those accepted."""
    text = (
        "the body of the request was in an unknown format - "
        f"accepted media types include: {', '.join(accepted)}"
    )
    return RefusedError(415, "UnsupportedMediaType", text)


def too_large() -> RefusedError:
    """413: the body is larger than the server reads."""
    return RefusedError(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")


def expired(message: str, *, go_on: str = "") -> RefusedError:
    """410: that version is no longer remembered; list again, or `go_on` with that `continue` token."""
    return RefusedError(410, "Expired", message, meta={"continue": go_on} if go_on else {})


def version_in_future(asked: int, current: int) -> RefusedError:
    """504: a version that this server has not reached."""
    message = f"Too large resource version: {asked}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return RefusedError(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})


def not_implemented(what: str) -> RefusedError:
    """501: Kubernetes can, this server cannot; the message says so."""
    return RefusedError(501, "NotImplemented", f"{what} is not implemented by the embedded API server")
