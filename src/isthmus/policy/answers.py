"""Decisions as Envoy reads them: CheckResponse (envoy.service.auth.v3), serialised. Pure."""

import math
from collections.abc import Sequence

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse, OkHttpResponse

from isthmus.policy.engine import Decision, Denial, Headers

NAMING_HEADER = "x-isthmus-policy"
"""On every refusal: NAMESPACE/NAME/RULE of the rule that refused."""
_PERMISSION_DENIED = 7
"""google.rpc.Code. An allowed check has OK, which is 0: the empty message."""
_ALLOWED = CheckResponse().SerializeToString()
_ADD = HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
_SET = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


def check_response(decision: Decision) -> bytes:
    """The answer to a check."""
    if decision.denial is not None:
        return _denied(decision.denial)
    if decision.headers is None:
        return _ALLOWED
    return CheckResponse(ok_response=_changed(decision.headers)).SerializeToString()


def _denied(denial: Denial) -> bytes:
    response = CheckResponse()
    response.status.code = _PERMISSION_DENIED
    response.status.message = denial.label
    denied = response.denied_response
    denied.status.code = denial.refusing.status  # pyright: ignore[reportAttributeAccessIssue]  # any HTTP status
    denied.body = f"{denial.refusing.message or 'Denied'} (policy {denial.label}: {denial.why})\n"
    headers = [(NAMING_HEADER, denial.label), ("content-type", "text/plain; charset=utf-8")]
    if denial.retry_after is not None:
        headers.append(("retry-after", str(max(1, math.ceil(denial.retry_after)))))
    denied.headers.extend(_options(headers, _SET))
    return response.SerializeToString()


def _changed(headers: Headers) -> OkHttpResponse:
    return OkHttpResponse(
        headers=[*_options(headers.add, _ADD), *_options(headers.set, _SET)],
        headers_to_remove=headers.remove,
        response_headers_to_add=_options(headers.add_to_response, _ADD),
    )


def _options(
    headers: Sequence[tuple[str, str]], action: HeaderValueOption.HeaderAppendAction.ValueType
) -> list[HeaderValueOption]:
    return [
        HeaderValueOption(header=HeaderValue(key=name, value=value), append_action=action)
        for name, value in headers
    ]
