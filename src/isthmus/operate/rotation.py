"""`isthmus cluster rotate`: a new token beside the old one, which stays good until its own end."""

from typing import Any

from isthmus.kube.access import Access
from isthmus.kube.client import running_client
from isthmus.kube.secret_kubeconfig import access_from_secret
from isthmus.lib.errors import UserError
from isthmus.operate.asking import Site, read_identity
from isthmus.operate.credential import Credential
from isthmus.operate.joining import Joined, read_joined, store
from isthmus.operate.registration import Registration, secret_body
from isthmus.operate.rights import ACCOUNT
from isthmus.operate.tokens import issue_credential, verify_access

_DAY = 86400


async def find_registration(control: Site, namespace: str, name: str) -> Registration:
    """The Secret's key that is in force for that name. Raises UserError where there is none."""
    joined = await read_joined(control, namespace)
    found = next((one for one in joined if one.name == name), None)
    if found is None:
        known = ", ".join(one.name for one in joined) or "none"
        raise UserError(
            f"No cluster {name} is joined by a Secret in Namespace {namespace} (joined: {known}); "
            "name one of those, or another --namespace."
        )
    return found


def _rotatable(present: Registration, namespace: str) -> tuple[Access, str]:
    """The stored access and the namespace of its account. Raises UserError for other than our tokens."""
    where = f"Secret {namespace}/{present.secret}, key {present.name}"
    if not present.account or present.access is None:
        raise UserError(
            f"{where}, holds no token that `isthmus cluster add` made, so that there is nothing to rotate; "
            f"run `isthmus cluster add {present.name} --context …` to replace its credential by a token."
        )
    account_namespace, _, account = present.account.partition("/")
    if account != ACCOUNT:
        raise UserError(
            f"{where}, is of the account {present.account}, which is not ours; rotate it by hand."
        )
    return present.access, account_namespace


async def planned_secret(control: Site, namespace: str, name: str, seconds: int | None) -> dict[str, Any]:
    """The Secret as a rotation will leave it, without the credential. Raises UserError; changes nothing."""
    present = await find_registration(control, namespace, name)
    access, _ = _rotatable(present, namespace)
    lifetime = seconds or present.lifetime or _DAY
    credential = Credential(b"", access.server, present.account, lifetime=lifetime)
    body = secret_body(present.secret, namespace, credential, present.identity)
    return {field: value for field, value in body.items() if field != "data"}


async def rotate(
    control: Site,
    namespace: str,
    name: str,
    *,
    operator: Access | None,
    label: str,
    seconds: int | None,
    untried: bool = False,
) -> Joined:
    """Replace the token. It is asked for by `operator`, else by the stored credential itself (tier renew).

    `untried`: only the control plane's network reaches the stored server; it is tried at `operator`'s.
    The new one is tried before the Secret changes, in one step and only if it is as it was read.
    """
    present = await find_registration(control, namespace, name)
    access, account_namespace = _rotatable(present, namespace)
    lifetime = seconds or present.lifetime or _DAY
    async with running_client(operator or access) as client:
        remote = Site(label, client)
        identity = await read_identity(remote)
        if present.identity and identity != present.identity:
            raise UserError(
                f"{label} is another cluster than {name} (kube-system has another UID); name its own context "
                f"or put that one in its place by `isthmus cluster add {name} --allow-different-cluster`."
            )
        credential = await issue_credential(remote, name, access, account_namespace, lifetime)
    tried_at = operator if untried else None
    await verify_access(access_from_secret(credential.kubeconfig), label, identity, tried_at)
    done = await store(control, namespace, name, credential, identity, present)
    return Joined(name, credential.server, done, credential.account, credential.expires, ())
