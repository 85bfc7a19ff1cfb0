"""`isthmus lab up`: make clusters, all at once, or leave nothing behind."""

import asyncio
import os
import re
import shlex
import shutil
import socket
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

from isthmus.lab.assets import VARIABLE, check_versions, find_assets
from isthmus.lab.faults.record import read_records
from isthmus.lab.network import clusters_up, make_cluster, make_hub, unmake_all
from isthmus.lab.pki import make_cluster_pki
from isthmus.lab.plan import HOST_INTERFACE, MOST_CLUSTERS, STATE, ClusterPlan, plan_clusters
from isthmus.lab.plan_file import read_neighbours, write_plan
from isthmus.lab.processes import API_SERVER, CONTROLLERS, NAMES, NODE, LabProcess
from isthmus.lib.errors import UserError

DEFAULT_CLUSTERS = ("west", "east")
Say = Callable[[str], None]
"""Takes one line of progress."""
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,18}[a-z0-9])?")
_PROGRAMS = {"ip": "iproute2", "iptables": "iptables", "nsenter": "util-linux"}
_DEMO_PROGRAMS = {"curl": "curl"}


def check_names(names: Sequence[str]) -> None:
    """UserError (wrong usage) unless these can be the clusters of one lab."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise UserError(
                f"Cluster name {name!r} is no short DNS label: up to 20 of a-z, 0-9 and '-', a letter first.",
                exit_code=2,
            )
    if len(set(names)) != len(names):
        raise UserError("A cluster is named twice; names must differ.", exit_code=2)
    if not 1 <= len(names) <= MOST_CLUSTERS:
        raise UserError(f"A lab has 1 to {MOST_CLUSTERS} clusters, not {len(names)}.", exit_code=2)


def require_root(verb: str) -> None:
    """UserError unless run by root."""
    if os.geteuid() != 0:
        raise UserError(
            "The lab needs root, because it makes network namespaces and iptables rules of its own;"
            f" run `{command_as_root(verb, sys.argv, os.environ)}`. Nothing was changed."
        )


def command_as_root(verb: str, argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """What was typed, by sudo; with the environment where real API servers are named in it."""
    typed = argv if verb in argv[1:] else [argv[0], "lab", verb]
    return shlex.join(["sudo", *(["-E"] if environment.get(VARIABLE) else []), *typed])


def check_machine(verb: str) -> None:
    """UserError where the lab cannot run here: not root, or a program is missing."""
    require_root(verb)
    needed = _PROGRAMS | (_DEMO_PROGRAMS if verb == "demo" else {})
    missing = sorted({package for program, package in needed.items() if shutil.which(program) is None})
    if missing:
        raise UserError(f"The lab needs {', '.join(missing)}; run `apt-get install {' '.join(missing)}`.")


@contextmanager
def only_one() -> Generator[None]:
    """Keep a second `up` or `down` out while one is at work. The name is freed with the process."""
    with socket.socket(socket.AF_UNIX) as guard:
        try:
            guard.bind("\0isthmus-lab")
        except OSError:
            raise UserError("Another `isthmus lab up` or `down` is at work; wait for it to end.") from None
        yield


def running_lab() -> list[ClusterPlan]:
    """The clusters of the lab on this machine, in their own order; none when no lab is up."""
    for name in clusters_up():
        try:
            return read_neighbours(STATE / name)
        except (OSError, ValueError):
            continue
    return []


def is_whole(plans: Sequence[ClusterPlan]) -> bool:
    """Whether everything of these clusters is up and ready."""
    return {plan.name for plan in plans} == set(clusters_up()) and all(
        LabProcess(plan, name).is_ready() for plan in plans for name in NAMES
    )


def bring_up(names: Sequence[str], say: Say) -> list[ClusterPlan]:
    """Make the clusters, or find them already made, and start again what of them has died.

    A lab that cannot be mended so is made anew. UserError where another lab is up. Whatever fails, nothing is
    left behind.
    """
    check_names(names)
    check_machine("up")
    if (assets := find_assets()) is not None:
        asyncio.run(check_versions(assets))
    plans = plan_clusters(list(names))
    with only_one():
        there = running_lab()
        if there and {plan.name for plan in there} != set(names):
            others = ", ".join(plan.name for plan in there)
            raise UserError(f"A lab with {others} is up, and a machine holds one; `isthmus lab down` first.")
        if there and is_whole(there):
            say(f"The lab is up already: {', '.join(plan.name for plan in there)}.")
            return there
        if there and asyncio.run(_mended(there, say)):
            return there
        if there or clusters_up() or STATE.exists() or HOST_INTERFACE in _links():
            say("A lab is half there; taking it down first.")
            unmake_all()
        try:
            asyncio.run(_make(plans, say))
        except BaseException:
            unmake_all()
            raise
    return plans


def _links() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


async def _mended(plans: Sequence[ClusterPlan], say: Say) -> bool:
    """Start again what has died of a lab whose networks are there; False where that does not do.

    Nor does it where something is broken on purpose, whose keeper may have died too.
    """
    whole = {plan.name for plan in plans} == set(clusters_up()) and HOST_INTERFACE in _links()
    if not whole or any(read_records(plan) for plan in plans):
        return False
    for failed in await asyncio.gather(*(_mend_one(plan, say) for plan in plans), return_exceptions=True):
        if isinstance(failed, UserError):
            say(f"It cannot be mended: {failed}")
            return False
        if failed is not None:
            raise failed
    return True


async def _mend_one(plan: ClusterPlan, say: Say) -> None:
    """What the API server keeps stays; pods are started anew by a new node."""
    dead = [name for name in NAMES if not LabProcess(plan, name).is_ready()]
    for name in dead:
        await LabProcess(plan, name).stop()
    if API_SERVER in dead:
        await LabProcess(plan, API_SERVER).start()
    await asyncio.gather(*(LabProcess(plan, name).start() for name in dead if name != API_SERVER))
    if dead:
        say(f"Cluster {plan.name}: {', '.join(dead)} had died, and runs again.")


async def _make(plans: Sequence[ClusterPlan], say: Say) -> None:
    make_hub()
    try:
        async with asyncio.TaskGroup() as group:
            for plan in plans:
                group.create_task(_make_one(plan, plans, say))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _make_one(plan: ClusterPlan, plans: Sequence[ClusterPlan], say: Say) -> None:
    plan.directory.mkdir(parents=True, mode=0o755)
    make_cluster(plan)
    make_cluster_pki(plan)
    write_plan(plan, plans)
    await LabProcess(plan, API_SERVER).start()
    await asyncio.gather(LabProcess(plan, CONTROLLERS).start(), LabProcess(plan, NODE).start())
    say(f"Cluster {plan.name} is up: {plan.api_url}, pods in {plan.pod_cidr}.")
