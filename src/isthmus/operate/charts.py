"""Our charts by the operator's own helm, 2.7.2 or newer: what it is told, and what came of it.

Arguments are pure functions of helm's major version; only `run_helm` runs anything.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.clusters.healing import FIELD_MANAGER
from isthmus.kube.kinds import POD
from isthmus.lib.errors import UserError
from isthmus.operate.asking import Site, read_identity
from isthmus.operate.preflight.checks import HELM_LEAST, read_version
from isthmus.operate.preflight.helm import find_helm, read_helm
from isthmus.operate.rights import charts_folder

CONTROL_PLANE, REMOTE = "istio", "istio-remote"
"""The releases, which have their chart's names."""
_ENDPOINTS = {
    "global.pilotEndpoint": "istio=pilot",
    "global.policyEndpoint": "istio=mixer",
    "global.statsdEndpoint": "istio=statsd-prom-bridge",
}
_NOT_THERE = "not found"
_BEING_HEALED = f'conflict with "{FIELD_MANAGER}"'
_ONCE_MORE = (0.3, 1.5)
"""Seconds until another attempt."""
_REMEDIES = {
    "luster unreachable": "name a kubeconfig with --kubeconfig or KUBECONFIG, and one of its contexts",
    "orbidden": "name a context of somebody who may, as a rule an administrator",
    "cannot be imported into the current release": "delete that object, or install into another namespace",
    "another operation": "wait for it, or roll it back with helm rollback",
    "don't meet the specifications of the schema": "correct these; the chart's values.yaml has all",
}
"""What helm says of a failure → the way forward, where helm names none."""


@dataclass(frozen=True, slots=True)
class Helm:
    """The helm to run, its major version, and the environment that it is run in."""

    program: str
    major: int
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)


@dataclass(frozen=True, slots=True)
class Release:
    """A release of a chart of its own name in a namespace of a context's cluster ("" is the current one)."""

    name: str
    namespace: str
    context: str = ""
    kubeconfig: Path | None = None


async def known_helm() -> Helm:
    """The operator's helm. Raises UserError where there is none, or one that is too old."""
    program = find_helm()
    found = await read_helm(program)
    version = read_version(found.version)
    if program is None or version is None:
        raise UserError(
            f"helm cannot be used: {found.trouble or found.version}; install Helm 2.7.2 or newer, and have "
            "it on PATH or its path in HELM_PATH."
        )
    if version < HELM_LEAST:
        raise UserError(f"{program} is Helm {found.version}; install 2.7.2 or newer.")
    return Helm(program, version[0])


def install_arguments(major: int, release: Release, options: Sequence[str]) -> list[str]:
    """Install the release, or upgrade it where it is there."""
    create = ["--create-namespace"] if major >= 3 else []
    chart = str(charts_folder() / release.name)
    return ["upgrade", "--install", release.name, chart, *_where(release), *create, *options]


def render_arguments(major: int, release: Release, options: Sequence[str]) -> list[str]:
    """Print the objects as YAML; asks no cluster."""
    chart = str(charts_folder() / release.name)
    named = ["--name", release.name, chart] if major < 3 else [release.name, chart]
    return ["template", *named, "--namespace", release.namespace, *options]


def uninstall_arguments(major: int, release: Release) -> list[str]:
    """Uninstall it, and forget it."""
    if major < 3:
        context = ["--kube-context", release.context] if release.context else []
        return ["delete", "--purge", release.name, *context]
    return ["uninstall", release.name, *_where(release)]


def _where(release: Release) -> list[str]:
    context = ["--kube-context", release.context] if release.context else []
    return ["--namespace", release.namespace, *context]


async def install(helm: Helm, release: Release, options: Sequence[str], *, dry_run: bool) -> str:
    """What helm printed. Raises UserError.

    Helm that applies on the server's side (4, as a rule) is refused while the control plane owns addresses
    that it has just healed there, which it does between two requests: then it is run again.
    """
    make = render_arguments if dry_run else install_arguments
    for pause in _ONCE_MORE:
        try:
            return await _run(helm, release, make(helm.major, release, options))
        except UserError as error:
            if _BEING_HEALED not in str(error):
                raise
        await asyncio.sleep(pause)
    return await _run(helm, release, make(helm.major, release, options))


async def uninstall(helm: Helm, release: Release) -> bool:
    """Uninstall it; whether it was there. Raises UserError."""
    try:
        await _run(helm, release, uninstall_arguments(helm.major, release))
    except UserError as error:
        if _NOT_THERE in str(error):
            return False
        raise
    return True


async def find_endpoints(control: Site, remote: Site, namespace: str) -> dict[str, tuple[str, ...]]:
    """The addresses of the control plane's ready pods, by the remote chart's value. Raises UserError.

    A value is left out where no such pod is ready; pilot's must be there.
    """
    if await read_identity(control) == await read_identity(remote):
        raise UserError(
            f"{remote.label} is the control plane's own cluster, which takes no {REMOTE}; name "
            "another context."
        )
    found: dict[str, tuple[str, ...]] = {}
    for value, selector in _ENDPOINTS.items():
        with control.asking(f"list the pods labelled {selector} in Namespace {namespace}"):
            pods = (await control.client.list(POD, namespace, label_selector=selector)).items
        addresses = tuple(sorted(pod.addresses[0] for pod in pods if pod.ready and pod.addresses))
        if addresses:
            found[value] = addresses
    if "global.pilotEndpoint" not in found:
        raise UserError(
            f"{control.label}: no pod labelled istio=pilot is ready in Namespace {namespace}; run "
            "`isthmus install` first, or name the namespace with --namespace."
        )
    return found


def endpoint_options(endpoints: Mapping[str, Sequence[str]]) -> list[str]:
    """`--set` for each value: one address as it is, several as helm's list."""
    options: list[str] = []
    for value, addresses in endpoints.items():
        text = addresses[0] if len(addresses) == 1 else "{" + ",".join(addresses) + "}"
        options += ["--set", f"{value}={text}"]
    return options


async def _run(helm: Helm, release: Release, arguments: Sequence[str]) -> str:
    environment = dict(helm.environment)
    if release.kubeconfig is not None:
        environment["KUBECONFIG"] = str(release.kubeconfig)
    process = await asyncio.create_subprocess_exec(
        helm.program,
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    if process.returncode != 0:
        said = " ".join(errors.decode(errors="replace").split()) or f"code {process.returncode}"
        said = said.removeprefix("Error: ").rstrip(".")
        ways = [way for part, way in _REMEDIES.items() if part in said]
        raise UserError(f"helm {arguments[0]} {release.name} failed: {'; '.join([said, *ways[:1]])}.")
    return output.decode(errors="replace")
