"""What helm says beside the objects: a clean bill from lint, and notes on what to do next."""

import tomllib
from pathlib import Path

import pytest

from tests.charts.rendering import CONTROL_PLANE, REMOTE, manifest, parse, render
from tests.support.helm import run_helm

both_charts = pytest.mark.parametrize("chart", [CONTROL_PLANE, REMOTE], ids=lambda chart: chart.name)

both_helms = pytest.mark.parametrize("helm", [3, 4])


def notes(chart: Path, *settings: str) -> str:
    chosen = [argument for setting in settings for argument in ("--set", setting)]
    command = ["install", chart.name, str(chart), "--namespace", "mesh", "--dry-run=client", *chosen]
    done = run_helm(command)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("\nNOTES:\n")[2]


@both_charts
@both_helms
def test_lint_finds_nothing(chart: Path, helm: int) -> None:
    done = run_helm(["lint", "--strict", str(chart)], major=helm)
    assert done.returncode == 0, done.stdout
    assert "1 chart(s) linted, 0 chart(s) failed" in done.stdout


@both_charts
def test_archive_of_the_chart_holds_all_that_it_renders_from(chart: Path, tmp_path: Path) -> None:
    packed = run_helm(["package", str(chart), "--destination", str(tmp_path)])
    assert packed.returncode == 0, packed.stderr
    (archive,) = tmp_path.iterdir()
    renders = [run_helm(["template", "x", str(source)]) for source in (chart, archive)]
    assert renders[0].stdout == renders[1].stdout != ""


@both_charts
def test_what_is_rendered_does_not_hang_on_the_kubernetes_that_helm_takes_it_to_be_for(chart: Path) -> None:
    """Helm 2's `template` says 1.7 whatever the cluster is."""
    plain, old = (
        run_helm(["template", "x", str(chart), *told]) for told in ((), ("--kube-version", "v1.7.3"))
    )
    assert (old.returncode, old.stdout) == (0, plain.stdout)


@pytest.mark.parametrize(
    ("chart", "settings"),
    [
        (CONTROL_PLANE, ()),
        (
            CONTROL_PLANE,
            (
                "statsd.mapping.mappings[0].match=a",
                "global.podSecurityContext.seccompProfile=null",
                "pilot.resources=null",
                "meshConfig.defaultConfig=null",
                "pilot.tolerations[0].operator=Exists",
            ),
        ),
        (REMOTE, (r"global.pilotEndpoint=10.1.0.5\,fd00::5", "global.policyEndpoint=policy.example.com")),
        (REMOTE, ("global.pilotEndpoint={10.1.0.5,10.1.0.6}", "rights.renew=true")),
    ],
)
def test_helm_3_renders_the_same_objects(chart: Path, settings: tuple[str, ...]) -> None:
    assert parse(manifest(chart, *settings, major=3)) == render(chart, *settings) != []


def test_package_carries_every_file_of_the_charts() -> None:
    """The commands read the charts from where pip puts them, where there is no checkout."""
    root = CONTROL_PLANE.parents[3]
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    carried = {file for patterns in listed.values() for one in patterns for file in root.glob(one)}
    charts = {file for file in CONTROL_PLANE.parent.rglob("*") if file.is_file()}
    assert charts == carried
    for folder, (pattern,) in listed.items():
        assert folder.removeprefix("share/isthmus/helm") == str(Path(pattern).parent).removeprefix(
            "install/kubernetes/helm"
        )


def test_notes_of_the_control_plane_are_the_guides_next_lines() -> None:
    text = notes(CONTROL_PLANE)
    for line in (
        "kubectl create secret generic ${CLUSTER_NAME} --from-file ${CLUSTER_NAME} -n mesh",
        "kubectl label secret ${CLUSTER_NAME} istio/multiCluster=true -n mesh",
        "PILOT_POD_IP=$(kubectl -n mesh get pod -l istio=pilot -o jsonpath='{.items[0].status.podIP}')",
        "POLICY_POD_IP=$(kubectl -n mesh get pod -l istio=mixer -o jsonpath='{.items[0].status.podIP}')",
        "STATSD_POD_IP=$(kubectl -n mesh get pod -l istio=statsd-prom-bridge -o jsonpath=",
        "helm template istio-remote install/kubernetes/helm/istio-remote --namespace mesh",
        "--set global.policyEndpoint=${POLICY_POD_IP} --set global.statsdEndpoint=${STATSD_POD_IP}",
        "kubectl create -f $HOME/istio-remote.yaml",
        "kubectl create -f install/kubernetes/helm/istio/crds/",
        "isthmus cluster list --namespace mesh",
    ):
        assert line in text


def test_notes_leave_out_what_is_not_installed() -> None:
    text = notes(CONTROL_PLANE, "statsd.enabled=false", "policy.enabled=false")
    assert "POLICY_POD_IP" not in text
    assert "STATSD_POD_IP" not in text
    assert "WARNING" not in text


def test_notes_warn_where_the_control_plane_serves_anybody() -> None:
    assert "WARNING: global.controlPlaneSecurityEnabled" in notes(
        CONTROL_PLANE, "global.controlPlaneSecurityEnabled=false"
    )


def test_notes_of_the_remote_say_how_to_inject() -> None:
    text = notes(REMOTE, "global.multiCluster.clusterName=east")
    assert "isthmus inject -f app.yaml --istio-namespace mesh | kubectl apply -f -" in text
