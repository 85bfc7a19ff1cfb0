"""Applies rules with whichever iptables works in this pod. It decides nothing about the rules.

A kernel offers nf_tables, the older tables, or both; the plain name is whichever the image prefers.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from isthmus.agent.rules import IPV4, IPV6, Family, derive_removal, derive_restore, derive_rules
from isthmus.config.redirection import Redirection
from isthmus.lib.errors import UserError

logger = structlog.get_logger()

_VARIANTS = ("", "-nft", "-legacy")
_SECONDS = 30.0
_GLOBAL_SCOPE = "00"


@dataclass(frozen=True, slots=True)
class Tables:
    """One working pair of programs: `save` prints the rules, `restore` applies a transaction."""

    save: Sequence[str]
    restore: Sequence[str]


def redirect(redirection: Redirection, families: Sequence[Family]) -> None:
    """Make the pod's rules those of `redirection`; each family in one transaction, all rules or none of it.

    Doing it again changes nothing. Needs NET_ADMIN and NET_RAW; UserError says what iptables said.
    """
    for family in families:
        rules = derive_rules(redirection, family)
        _apply(family, lambda saved, rules=rules: derive_restore(rules, saved))
        logger.info("traffic is redirected", ip_version=family.version, rules=len(rules))


def stop_redirecting(families: Sequence[Family]) -> None:
    """Take the pod's Istio chains out again, and only those."""
    for family in families:
        _apply(family, derive_removal)
        logger.info("redirection is removed", ip_version=family.version)


def families_here(if_inet6: Path = Path("/proc/net/if_inet6")) -> list[Family]:
    """IPv4, and IPv6 where an interface has a global (or unique local) address."""
    try:
        lines = if_inet6.read_text().splitlines()
    except OSError:
        lines = []
    return [IPV4, IPV6] if any(line.split()[3] == _GLOBAL_SCOPE for line in lines) else [IPV4]


def _apply(family: Family, plan: Callable[[str], str]) -> None:
    failures: list[str] = []
    for tables in _installed(family):
        try:
            saved = _run(tables.save, "")
            _run(tables.restore, plan(saved))
        except _FailedError as error:
            failures.append(str(error))
            continue
        return
    reasons = "; ".join(failures) or "no such program is installed"
    raise UserError(
        f"The rules for IPv{family.version} could not be written: {reasons}. istio-init needs to be root "
        "with the capabilities NET_ADMIN and NET_RAW, iptables in its image, and nat in the node's kernel."
    )


def _installed(family: Family) -> Iterator[Tables]:
    name = "iptables" if family.version == 4 else "ip6tables"
    for variant in _VARIANTS:
        save, restore = shutil.which(f"{name}{variant}-save"), shutil.which(f"{name}{variant}-restore")
        if save and restore:
            yield Tables((save, "-t", "nat"), (restore, "--noflush", "--wait=5"))


class _FailedError(Exception):
    """One program failed; the text holds its name and its last words."""


def _run(command: Sequence[str], text: str) -> str:
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _FailedError(f"{name}: {error}") from error
    if done.returncode != 0:
        raise _FailedError(f"{name}: {' '.join(done.stderr.split()) or f'exit code {done.returncode}'}")
    return done.stdout
