"""`isthmus install`, `remote install` and `uninstall`, with the real helm."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from isthmus.cli.install import install, remote, uninstall
from isthmus.kube.kinds import untyped
from isthmus.lab.helm import find_helm
from isthmus.lib.errors import UserError
from isthmus.operate import charts
from isthmus.operate.asking import ACCOUNTS
from isthmus.operate.charts import (
    CONTROL_PLANE,
    REMOTE,
    Helm,
    Release,
    endpoint_options,
    install_arguments,
    render_arguments,
    uninstall_arguments,
)
from tests.operate.desk import Desk, at_desk
from tests.scenarios.mesh import NAMESPACES

PODS = untyped("", "v1", "pods", "Pod")
ENDPOINTS = untyped("", "v1", "endpoints", "Endpoints")
RELEASE = Release(REMOTE, "mesh", "east")
app = typer.Typer()
app.command("install")(install)
app.command("uninstall")(uninstall)
app.add_typer(remote, name="remote")


async def run(desk: Desk, *words: str, helm: str | None = None) -> str:
    environment = {"HELM_PATH": helm or str(find_helm())}
    arguments = [*words, "--kubeconfig", str(desk.kubeconfig)]
    result = await asyncio.to_thread(CliRunner(env=environment).invoke, app, arguments)
    if result.exception is not None:
        raise result.exception
    return result.stdout


async def run_pilot_pod(desk: Desk, *addresses: str) -> None:
    api = desk.mesh.west.api
    await api.create(ACCOUNTS, {"metadata": {"name": "default"}}, "istio-system")
    for number, address in enumerate(addresses):
        spec = {"containers": [{"name": "discovery", "image": "isthmus/pilot"}]}
        metadata = {"name": f"pilot-{number}", "labels": {"istio": "pilot"}}
        await api.create(PODS, {"metadata": metadata, "spec": spec}, "istio-system")
        ready = [{"type": "Ready", "status": "True"}]
        status: dict[str, Any] = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        patch = {"status": {**status, "conditions": ready}}
        await api.patch(PODS, f"pilot-{number}", patch, "istio-system", subresource="status")


def test_each_helm_is_told_in_its_own_words() -> None:
    assert install_arguments(2, RELEASE, ())[:3] == ["upgrade", "--install", REMOTE]
    assert "--create-namespace" not in install_arguments(2, RELEASE, ())
    assert "--create-namespace" in install_arguments(3, RELEASE, ())
    assert render_arguments(2, RELEASE, ())[1:3] == ["--name", REMOTE]
    assert render_arguments(4, RELEASE, ())[1] == REMOTE
    assert uninstall_arguments(2, RELEASE) == ["delete", "--purge", REMOTE, "--kube-context", "east"]
    assert uninstall_arguments(3, RELEASE)[:2] == ["uninstall", REMOTE]


def test_several_addresses_are_a_list() -> None:
    assert endpoint_options({"a": ("1",), "b": ("1", "2")}) == ["--set", "a=1", "--set", "b={1,2}"]


async def test_a_dry_run_prints_the_control_plane(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        text = await run(desk, "install", "--dry-run", "--cluster-id", "west")
        found = [(body["kind"], body["metadata"]["name"]) for body in yaml.safe_load_all(text) if body]
        assert ("Deployment", "istio-pilot") in found
        assert 'value: "west"' in text


async def test_the_remote_gets_the_addresses_of_the_ready_pods_and_goes_again(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.add()  # its account and rights are taken over
        await run_pilot_pod(desk, "10.1.0.5", "10.1.0.6")
        words = ("remote", "install", "east", "--cluster-name", "east")
        await run(desk, *words, helm=str(find_helm(3)))
        await run(desk, *words)  # Helm 4 goes on with what Helm 3 installed
        found = await desk.mesh.east.api.get(ENDPOINTS, "istio-pilot", "istio-system")
        (subset,) = found["subsets"]
        assert sorted(one["ip"] for one in subset["addresses"]) == ["10.1.0.5", "10.1.0.6"]
        assert "uninstalled" in await run(desk, "remote", "uninstall", "east", "--yes")
        assert "is not there" in await run(desk, "remote", "uninstall", "east", "--yes")


@pytest.mark.parametrize(
    ("words", "helm", "sentence"),
    [
        (("remote", "install", "east"), None, "no pod labelled istio=pilot is ready"),
        (("remote", "install", "west"), None, "takes no istio-remote"),
        (("install",), "/nowhere/helm", "/nowhere/helm cannot be run"),
        (("install", "--set", "global.multiCluster=1", "--dry-run"), None, "helm template istio failed"),
        (("install", "--set", "pilot.replicas=2", "--dry-run"), None, "; correct these;"),
        (("install", "--context", "north"), None, "; name a kubeconfig with --kubeconfig"),
    ],
)
async def test_bad_input_is_told(
    tmp_path: Path, words: tuple[str, ...], helm: str | None, sentence: str
) -> None:
    async with at_desk(tmp_path) as desk:
        with pytest.raises(UserError) as told:
            await run(desk, *words, helm=helm)
        assert sentence in str(told.value)
        assert "\n" not in str(told.value)
        names = [each["metadata"]["name"] for each in (await desk.mesh.east.api.list(NAMESPACES)).items]
        assert "istio-system" not in names


async def test_helm_is_run_again_while_what_it_applies_is_just_being_healed(tmp_path: Path) -> None:
    program, runs = tmp_path / "helm", tmp_path / "runs"

    def fails_once(conflict_with: str) -> Helm:
        runs.unlink(missing_ok=True)
        program.write_text(
            f"""#!/bin/sh
echo "$1 $3" >> {runs}
[ $(wc -l < {runs}) -gt 1 ] && echo installed && exit
echo 'Error: UPGRADE FAILED: 1 conflict: conflict with "{conflict_with}" using v1: .subsets' >&2
exit 1
"""
        )
        program.chmod(0o755)
        return Helm(str(program), 4)

    assert await charts.install(fails_once("istio-pilot"), RELEASE, (), dry_run=False) == "installed\n"
    assert runs.read_text() == "upgrade istio-remote\n" * 2
    with pytest.raises(UserError, match="conflict with"):
        await charts.install(fails_once("kubectl-edit"), RELEASE, (), dry_run=False)
    assert runs.read_text() == "upgrade istio-remote\n"


def test_contexts_are_completed_from_every_kubeconfig_that_is_named(tmp_path: Path) -> None:
    for name in ("east", "eastern", "west"):
        (tmp_path / name).write_text(yaml.safe_dump({"contexts": [{"name": name}]}))
    (tmp_path / "bad").write_text("contexts: 5")
    named = ":".join(str(tmp_path / name) for name in ("east", "missing", "bad", "eastern", "west"))
    variables = {
        "_APP_COMPLETE": "complete_bash",
        "COMP_WORDS": "app install --context ea",
        "COMP_CWORD": "3",
    }
    for given, found in (({"KUBECONFIG": named}, "east\neastern"), ({"HOME": str(tmp_path)}, "")):
        done = CliRunner(env={"KUBECONFIG": None, **variables, **given}).invoke(app, prog_name="app")
        assert done.stdout.strip() == found
    variables = {"_APP_COMPLETE": "complete_bash", "COMP_WORDS": "app install --output t", "COMP_CWORD": "3"}
    assert CliRunner(env=variables).invoke(app, prog_name="app").stdout.strip() == "table"


def test_releases_are_called_as_in_the_guide() -> None:
    assert (CONTROL_PLANE, REMOTE) == ("istio", "istio-remote")
