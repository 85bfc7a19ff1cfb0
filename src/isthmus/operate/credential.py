"""The kubeconfig that goes into a cluster's Secret: self-contained, and fit for where it will be used. Pure.

It refuses what the control plane could not use: addresses of this machine alone, programs, unverified TLS.
"""

import base64
import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

from isthmus.kube.access import Access
from isthmus.kube.errors import KubeconfigRefused
from isthmus.kube.kubeconfig_text import with_token, write_kubeconfig
from isthmus.kube.secret_kubeconfig import access_from_secret
from isthmus.lib.errors import UserError


@dataclass(frozen=True, slots=True)
class Credential:
    """A kubeconfig and what is known of it. `account` is NAMESPACE/NAME of whom its token is, "" for a copy
    of a person's; `expires` is None where it is not known to; `lifetime` is what was asked for, in seconds.
    """

    kubeconfig: bytes = field(repr=False)
    server: str
    account: str = ""
    expires: datetime | None = None
    lifetime: int = 0


def public_server(access: Access, given: str | None) -> Access:
    """The access as others reach it: by `given`, or by the context's own server if that is not loopback."""
    if given is not None:
        parts = urlsplit(given)
        if parts.scheme != "https" or not parts.hostname:
            raise UserError(
                f"--server is {given!r}; write a URL such as https://203.0.113.7:6443.", exit_code=2
            )
        return replace(access, server=given.rstrip("/"))
    if _is_loopback(urlsplit(access.server).hostname or ""):
        raise UserError(
            f"The context's server {access.server} is reachable from this machine only, not from the control "
            "plane; give the URL that the control plane's pods reach it by, with --server."
        )
    return access


def credential_of_token(name: str, access: Access, token: str) -> bytes:
    """The kubeconfig of that token at the access's server, with nothing of the access's own credential."""
    _check_verified(access)
    return write_kubeconfig(name, with_token(access, token))


def copied_credential(name: str, access: Access) -> Credential:
    """The operator's own credential, flattened. Raises UserError where it cannot be written inline."""
    _check_verified(access)
    if access.exec_plugin is not None:
        raise UserError(
            f"--use-current-credentials: the context's user gets its credential from the program "
            f"{access.exec_plugin.command[0]}, which the control plane does not run; leave the option out, "
            "so that an account and a token are made."
        )
    if access.token_file is not None and not access.token:
        try:
            access = replace(access, token=access.token_file.read_text().strip())
        except OSError as error:
            raise UserError(
                f"--use-current-credentials: the token file {access.token_file} cannot be read: "
                f"{error.strerror}; correct the context's user."
            ) from None
    kubeconfig = write_kubeconfig(name, access)
    try:
        access_from_secret(kubeconfig)
    except KubeconfigRefused as refusal:
        raise UserError(
            f"--use-current-credentials: the context's kubeconfig is of no use to the control plane: "
            f"{refusal.field} {refusal.reason}; name another context."
        ) from None
    return Credential(kubeconfig, access.server, expires=_expiry(access.token))


def _check_verified(access: Access) -> None:
    if access.insecure:
        raise UserError(
            "The context's cluster says insecure-skip-tls-verify, which would let the control plane trust "
            "any server; give the cluster's certificate-authority-data in the kubeconfig instead."
        )


def _expiry(token: str | None) -> datetime | None:
    """When a JSON Web Token ends by its own account (RFC 7519, `exp`); None for all that says nothing."""
    parts = (token or "").split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return datetime.fromtimestamp(float(claims["exp"])).astimezone()
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified
