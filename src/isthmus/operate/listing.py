"""`isthmus cluster list` and `show`: what the Secrets say, joined with what the control plane says."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC

import msgspec

from isthmus.clusters.draining import read_drain
from isthmus.kube.access import Access
from isthmus.kube.client import running_client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.lib.errors import UserError
from isthmus.operate.asking import Site
from isthmus.operate.pages import read_page
from isthmus.operate.registration import Registration

_PAGE = "/debug/clusterz"


class Counts(msgspec.Struct, rename="camel"):
    """How many objects of a cluster the control plane holds."""

    services: int = 0
    endpoint_slices: int = 0
    pods: int = 0
    nodes: int = 0


class Reported(msgspec.Struct, rename="camel"):
    """One row of the control plane's page."""

    id: str
    state: str
    since: str
    reason: str = ""
    secret_name: str = ""
    server: str = ""
    objects: Counts = msgspec.field(default_factory=Counts)
    remarks: tuple[str, ...] = ()
    drain: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One cluster. `state` is `unknown` where no control plane could be asked; then `since` is ""."""

    name: str
    state: str
    since: str
    reason: str
    server: str = ""
    secret: str = ""
    account: str = ""
    token_expires: str = ""
    drain: str = ""
    counts: Counts | None = None
    remarks: Sequence[str] = field(default=())


async def ask_pilot(control: Site, namespace: str, pilot: str | None) -> list[Reported] | str:
    """The control plane's own view: over `pilot` (http://HOST:PORT), else through the API server's proxy.

    Where it cannot be had, the reason in words; a `pilot` that was named must answer (UserError).
    """
    if pilot is not None:
        if not pilot.startswith("http://"):
            raise UserError(f"--pilot is {pilot!r}; write http://HOST:PORT.", exit_code=2)
        try:
            async with running_client(Access(pilot.rstrip("/"))) as client:
                return _decode(await client.request("GET", _PAGE))
        except (ApiError, Unreachable) as error:
            raise UserError(
                f"The control plane at {pilot} gives no answer ({error}); check the address, or "
                "leave --pilot out."
            ) from error
    try:
        return _decode(await read_page(control, namespace, _PAGE))
    except (ApiError, Unreachable) as error:
        reason = error.message if isinstance(error, ApiError) and error.message else error.reason
        return f"the control plane cannot be asked through the API server ({reason}); name it with --pilot"


def _decode(body: bytes) -> list[Reported]:
    try:
        return msgspec.json.decode(body, type=list[Reported])
    except msgspec.DecodeError:
        raise Unreachable(f"its {_PAGE} makes no sense") from None


def make_rows(joined: Sequence[Registration], reported: list[Reported] | str, namespace: str) -> list[Row]:
    """One row a cluster: the control plane's own first, then by name."""
    if isinstance(reported, str):
        return [_row(one, namespace, None, reported) for one in joined]
    by_key = {(f"{namespace}/{one.secret}", one.name): one for one in joined}
    rows = [_with(one, by_key.pop((one.secret_name, one.id), None)) for one in reported]
    rows += [
        _row(one, namespace, None, "the control plane has not read its Secret yet") for one in by_key.values()
    ]
    return sorted(rows, key=lambda row: (row.secret != "", row.name))


def _row(one: Registration, namespace: str, reported: Reported | None, reason: str) -> Row:
    return Row(
        name=one.name,
        state=reported.state if reported else "unknown",
        since=reported.since if reported else "",
        reason=one.refusal or reason,
        server=one.server,
        secret=f"{namespace}/{one.secret}",
        account=one.account,
        token_expires=one.expires.astimezone(UTC).isoformat(timespec="seconds") if one.expires else "",
        drain=_drain(one, reported),
        counts=reported.objects if reported else None,
        remarks=reported.remarks if reported else (),
    )


def _drain(one: Registration, reported: Reported | None) -> str:
    """How far it is, as the control plane says, else as the Secret does."""
    if reported is not None:
        return reported.drain or ""
    wanted, flaw = read_drain(one.annotations, one.name)
    return flaw if wanted is None else wanted.describe(time.time())


def _with(reported: Reported, one: Registration | None) -> Row:
    if one is not None:
        return _row(one, reported.secret_name.partition("/")[0], reported, reported.reason)
    return Row(
        name=reported.id,
        state=reported.state,
        since=reported.since,
        reason=reported.reason,
        server=reported.server,
        secret=reported.secret_name,
        counts=reported.objects,
        remarks=reported.remarks,
    )
