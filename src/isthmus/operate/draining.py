"""`isthmus cluster drain` and `undrain`: shift a cluster's traffic away over a time, or have it back at once.

The wish stands on the cluster's Secret; every replica of the control plane follows it by the clock.
"""

import time
from dataclasses import dataclass
from typing import Any

from isthmus.clusters.annotations import DRAIN
from isthmus.clusters.draining import Drain, read_drain, write_drain
from isthmus.operate.asking import SECRETS, Site
from isthmus.operate.registration import Registration
from isthmus.operate.rotation import find_registration


@dataclass(frozen=True, slots=True)
class Drained:
    """What was done: `secret` is `updated` or `unchanged`; `drain` says how far it is, "" for not at all."""

    name: str
    secret: str
    drain: str


def plan_drain(present: Registration, seconds: float | None, now: float) -> tuple[dict[str, Any] | None, str]:
    """The merge patch of the Secret by which its cluster drains within `seconds`, None: no longer.

    The patch is None where nothing is to change; the second is how far it will be then, in words. Of one that
    drains already only the pace changes. `now` is Unix seconds.
    """
    found, _ = read_drain(present.annotations, present.name)
    if seconds is None:
        wanted = None
    elif found is None:
        wanted = Drain(now, seconds)
    else:
        same = abs(found.seconds - seconds) < 1 or not found.share(now)
        wanted = found if same else found.within(seconds, now)
    value = write_drain(present.annotations, present.name, wanted)
    words = "" if wanted is None else wanted.describe(now)
    if wanted == found and value == present.annotations.get(DRAIN):
        return None, words
    metadata = {"resourceVersion": present.resource_version, "annotations": {DRAIN: value}}
    return {"metadata": metadata}, words


async def drain(
    control: Site, namespace: str, name: str, seconds: float | None, *, dry_run: bool
) -> tuple[Drained, dict[str, Any] | None]:
    """Have it drain within `seconds`, or with None no longer; and the patch. Raises UserError."""
    present = await find_registration(control, namespace, name)
    patch, words = plan_drain(present, seconds, time.time())
    if patch is not None and not dry_run:
        with control.asking(f"change Secret {namespace}/{present.secret}"):
            await control.client.patch(SECRETS, present.secret, patch, namespace)
    return Drained(name, "unchanged" if patch is None else "updated", words), patch
