"""`isthmus cluster remove`: a cluster leaves the mesh; with a purge nothing of ours stays in it."""

from isthmus.kube.errors import ApiError
from isthmus.lib.errors import UserError
from isthmus.operate.asking import SECRETS, Site, read_identity
from isthmus.operate.creation import take_away
from isthmus.operate.registration import Registration
from isthmus.operate.rights import ACCOUNT, TIERS, renewal_objects, rights_objects


async def leave(control: Site, namespace: str, present: Registration) -> str:
    """Take the cluster's key out of its Secret, or delete the Secret that holds no other. What was done.

    First goes what `cluster add` made beside it: should that fail, the cluster is still there to be removed.
    """
    where = f"Secret {namespace}/{present.secret}"
    if present.origin == "token":
        await take_away(control, renewal_objects(present.name, namespace))
    if present.alone:
        with control.asking(f"delete {where}"):
            try:
                await control.client.delete(SECRETS, present.secret, namespace)
            except ApiError as error:
                if error.status != 404:
                    raise
        return f"{where} deleted"
    patch = {"metadata": {"resourceVersion": present.resource_version}, "data": {present.name: None}}
    with control.asking(f"change {where}"):
        await control.client.patch(SECRETS, present.secret, patch, namespace)
    return f"key {present.name} taken out of {where}"


async def check_purge(remote: Site, present: Registration) -> None:
    """Raise UserError unless that is the cluster which leaves: another's rights must not be taken."""
    identity = await read_identity(remote)
    if present.identity and present.identity != identity:
        raise UserError(
            f"{remote.label} is another cluster than {present.name} (kube-system has another UID); name the "
            "context of the one that leaves."
        )


async def purge(remote: Site, namespace: str, present: Registration) -> list[str]:
    """Delete the reader's account, with which all of its tokens end, and its rights. What is gone."""
    account_namespace = present.account.partition("/")[0] if present.account.endswith(ACCOUNT) else namespace
    return await take_away(remote, rights_objects(TIERS, account_namespace or namespace))
