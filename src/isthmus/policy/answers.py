"""Decisions as Envoy reads them: CheckResponse (envoy.service.auth.v3), serialised. Pure."""

import math
from collections.abc import Container

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse, OkHttpResponse

from isthmus.policy.engine import Decision, Denial, Headers

NAMING_HEADER = "x-isthmus-policy"
"""On every refusal: NAMESPACE/NAME/RULE of the rule that refused."""
_PERMISSION_DENIED = 7
"""google.rpc.Code. An allowed check has OK, which is 0: the empty message."""
_ALLOWED = CheckResponse().SerializeToString()


def check_response(decision: Decision, present: Container[str]) -> bytes:
    """The answer to a check; `present` are the headers that the request has."""
    if decision.denial is not None:
        return _denied(decision.denial)
    if decision.headers is None:
        return _ALLOWED
    return CheckResponse(ok_response=_changed(decision.headers, present)).SerializeToString()


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
    denied.headers.extend(_option(name, value) for name, value in headers)
    return response.SerializeToString()


def _changed(headers: Headers, present: Container[str]) -> OkHttpResponse:
    """Envoy reads only `append` here, sets before it appends, and appends only to what exists."""
    options = [_option(name, value) for name, value in headers.set]
    there = {name for name, _ in headers.set}
    for name, value in headers.add:
        options.append(_option(name, value, append=name in present or name in there))
        there.add(name)
    return OkHttpResponse(
        headers=options,
        headers_to_remove=headers.remove,
        response_headers_to_add=[_option(name, value) for name, value in headers.add_to_response],
    )


def _option(name: str, value: str, *, append: bool = False) -> HeaderValueOption:
    option = HeaderValueOption(header=HeaderValue(key=name, value=value))
    if append:
        option.append.value = True  # pyright: ignore[reportDeprecated]  # Envoy 1.40 reads no other
    return option
