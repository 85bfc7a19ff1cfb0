"""helm against an API server: install, upgrade, roll back, uninstall, and nothing is left."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from isthmus.lab.apiserver.server import RunningServer, running_api_server
from tests.charts.operator import Operator
from tests.charts.rendering import CONTROL_PLANE, REMOTE, SYSTEM

both_charts = pytest.mark.parametrize("chart", [CONTROL_PLANE, REMOTE], ids=lambda chart: chart.name)
both_helms = pytest.mark.parametrize("helm", [3, 4])


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RunningServer]:
    async with running_api_server() as running:
        yield running


@pytest_asyncio.fixture
async def operator(server: RunningServer, tmp_path: Path) -> Operator:
    (tmp_path / "kubeconfig").write_bytes(server.kubeconfig("test"))
    operator = Operator(tmp_path)
    await operator.types("kubectl", "create", "namespace", SYSTEM)
    return operator


async def _install(operator: Operator, chart: Path, *flags: str) -> str:
    return await operator.types("helm", "install", "mesh", str(chart), "-n", SYSTEM, *flags)


async def _statuses(operator: Operator) -> list[str]:
    history = await operator.types("helm", "history", "mesh", "-n", SYSTEM, "-o", "json")
    return [revision["status"] for revision in json.loads(history)]


@both_charts
@both_helms
async def test_release_is_installed_upgraded_rolled_back_and_uninstalled(
    chart: Path, helm: int, operator: Operator
) -> None:
    """Helm 3 by a patch that it works out itself; Helm 4 by the server's apply."""
    operator = replace(operator, helm=helm)
    before = await operator.everything()
    place = ("-n", SYSTEM)
    strict = ("--set", "global.mtls.enabled=true") if chart == CONTROL_PLANE else ()
    await _install(operator, chart, *strict)
    if strict:
        authentication = await operator.reads("peerauthentication", "default", *place)
        assert authentication["spec"] == {"mtls": {"mode": "STRICT"}}
    installed = await operator.everything() - before
    (release,) = json.loads(await operator.types("helm", "list", "-A", "-o", "json"))
    assert (release["name"], release["namespace"], release["status"]) == ("mesh", SYSTEM, "deployed")
    setting = "rights.renew=true" if chart == REMOTE else "statsd.enabled=false"
    await operator.types("helm", "upgrade", "mesh", str(chart), *place, "--set", setting)
    upgraded = await operator.everything() - before
    assert {one for one in upgraded if one[0] != "Secret"} != {one for one in installed if one[0] != "Secret"}
    await operator.types("helm", "rollback", "mesh", "1", *place)
    assert await _statuses(operator) == ["superseded", "superseded", "deployed"]
    secrets = {("Secret", SYSTEM, f"sh.helm.release.v1.mesh.v{revision}") for revision in (1, 2, 3)}
    assert await operator.everything() - before == installed | secrets
    await operator.types("helm", "uninstall", "mesh", *place)
    assert await operator.everything() == before


async def test_release_is_kept_in_a_secret_of_helms_own_type(operator: Operator) -> None:
    await _install(operator, REMOTE)
    (secret,) = (await operator.reads("secrets", "-n", SYSTEM))["items"]
    assert secret["type"] == "helm.sh/release.v1"
    assert secret["metadata"]["labels"]["owner"] == "helm"


async def test_waiting_for_the_remote_chart_ends_without_nodes(operator: Operator) -> None:
    setting = "global.pilotEndpoint=10.1.0.5"
    await _install(operator, REMOTE, "--wait", "--timeout=20s", "--set", setting)
    ready = await operator.reads("endpoints", "istio-pilot", "-n", SYSTEM)
    assert ready["subsets"][0]["addresses"] == [{"ip": "10.1.0.5"}]
    await operator.types("helm", "uninstall", "mesh", "-n", SYSTEM, "--wait", "--timeout=20s")


async def test_dry_run_against_the_server_leaves_nothing(operator: Operator) -> None:
    before = await operator.everything()
    assert "kind: Deployment" in await _install(operator, CONTROL_PLANE, "--dry-run=server")
    assert await operator.everything() == before


async def test_repeated_upgrade_changes_no_object(operator: Operator) -> None:
    await _install(operator, CONTROL_PLANE)
    first = await operator.reads("deployments", "-n", SYSTEM)
    await operator.types("helm", "upgrade", "mesh", str(CONTROL_PLANE), "-n", SYSTEM)
    assert (await operator.reads("deployments", "-n", SYSTEM))["items"] == first["items"]


async def test_upgrade_names_the_field_that_somebody_else_took_and_can_be_forced(operator: Operator) -> None:
    await _install(operator, CONTROL_PLANE)
    scale = ("deployment", "istio-pilot", "-n", SYSTEM)
    replicas = (await operator.reads(*scale))["spec"]["replicas"]
    patch = json.dumps({"spec": {"replicas": replicas + 2}})
    await operator.types("kubectl", "patch", *scale, "--patch", patch, "--field-manager=somebody")
    upgrade = ("helm", "upgrade", "mesh", str(CONTROL_PLANE), "-n", SYSTEM)
    code, _, err = await operator.tries(*upgrade)
    assert code != 0
    assert 'conflict with "somebody" using apps/v1: .spec.replicas' in err
    await operator.types(*upgrade, "--force-conflicts")
    assert (await operator.reads(*scale))["spec"]["replicas"] == replicas


async def test_installing_over_anothers_object_is_refused(operator: Operator) -> None:
    await operator.types("kubectl", "create", "configmap", "istio", "-n", SYSTEM)
    code, _, err = await operator.tries("helm", "install", "mesh", str(CONTROL_PLANE), "-n", SYSTEM)
    assert code != 0
    assert 'ConfigMap "istio" in namespace "istio-system" exists and cannot be imported' in err


@both_charts
async def test_rendered_file_is_created_and_deleted_by_kubectl(chart: Path, operator: Operator) -> None:
    before = await operator.everything()
    file = operator.home / "rendered.yaml"
    file.write_text(await operator.types("helm", "template", "mesh", str(chart), "-n", SYSTEM))
    await operator.types("kubectl", "create", "-f", str(file))
    await operator.types("kubectl", "apply", "--server-side", "--force-conflicts", "-f", str(file))
    assert await operator.everything() > before
    await operator.types("kubectl", "delete", "-f", str(file))
    assert await operator.everything() == before
