"""The guide, command by command: what `docs/guide.md` says is typed here, and nothing stays behind."""

import json
import re
import time
from pathlib import Path

import pytest

from isthmus.lab.demo.workloads import DEMO
from tests.e2e.commands import everything, own_of, pods
from tests.e2e.conftest import THREE
from tests.e2e.guide_page import PAGE, Block, Shell, read_blocks, running_shell

NAMESPACE = "istio-system"
TAKEN_AWAY = "kubectl delete ns istio-system"


async def until_all_answer(shell: Shell, block: Block) -> None:
    """Ask again and again, until a pod of each cluster has answered."""
    cluster_of = {
        pod["metadata"]["name"]: cluster for cluster in THREE for pod in pods(cluster, DEMO, "app=echo")
    }
    heard: set[str] = set()
    deadline = time.monotonic() + 120
    while heard != set(THREE):
        assert time.monotonic() < deadline, f"only pods of {heard} answered"
        heard.add(cluster_of[json.loads(await shell.type(block.commands, "west"))["pod"]])


async def run(shell: Shell, block: Block) -> str:
    """Type a block in each of its places; a question again, until all have answered."""
    if "curl" in block.commands:
        await until_all_answer(shell, block)
        return ""
    return "".join([await shell.type(block.commands, cluster) for cluster in block.places])


def with_values(values: str, text: str) -> str:
    """The page with a `--set` of these in every line that installs or renders a chart."""
    return re.sub(r"(?m)^(helm (?:install|template) .* --namespace \S+)", rf"\1 {values}", text)


@pytest.mark.parametrize(
    ("namespace", "helm", "values"),
    [(NAMESPACE, 4, ""), ("mesh", 3, "--set global.controlPlaneSecurityEnabled=false")],
)
async def test_guide_works_as_it_is_written_and_leaves_nothing(
    three_clusters: None, tmp_path: Path, namespace: str, helm: int, values: str
) -> None:
    before = {cluster: everything(cluster) for cluster in THREE}
    own = own_of(namespace)
    async with running_shell(tmp_path, helm) as shell:
        for block in read_blocks(with_values(values, PAGE.read_text().replace(NAMESPACE, namespace))):
            if TAKEN_AWAY.replace(NAMESPACE, namespace) in block.commands:
                for cluster in ("east", "north"):
                    left = everything(cluster) - before[cluster] - own
                    assert {one for one in left if one[2] != "istio-ca-root-cert"} == set()
            printed = await run(shell, block)
            if "isthmus cluster list" in block.commands:
                rows = [line.split()[:2] for line in printed.splitlines()[1:]]
                assert rows == [["Kubernetes", "fresh"], ["east", "fresh"], ["north", "fresh"]]
    assert {cluster: everything(cluster) for cluster in THREE} == before


def test_page_has_the_guides_own_lines_where_helm_did_not_change() -> None:
    text = PAGE.read_text()
    for line in (
        "kubectl create ns istio-system",
        "pushd $HOME/multicluster",
        "kubectl create secret generic ${CLUSTER_NAME} --from-file ${CLUSTER_NAME} -n istio-system",
        "kubectl label secret ${CLUSTER_NAME} istio/multiCluster=true -n istio-system",
        "popd",
        *(
            f"export {name}_POD_IP=$(kubectl -n istio-system get pod -l istio={label} -o jsonpath="
            "'{.items[0].status.podIP}')"
            for name, label in (("PILOT", "pilot"), ("POLICY", "mixer"), ("STATSD", "statsd-prom-bridge"))
        ),
        "> $HOME/istio-remote.yaml",
        "kubectl create -f $HOME/istio-remote.yaml",
        "kubectl create -f install/kubernetes/helm/helm-service-account.yaml",
        "kubectl delete -f $HOME/istio-remote.yaml",
        "helm delete --purge istio-remote",
    ):
        assert line in text
    assert {place for block in read_blocks(text) for place in block.places} == set(THREE)


def test_a_block_that_nobody_runs_is_no_text() -> None:
    text = "# A\n```sh west\nb\n```\n## C\n  ```text\n# no heading\n  ```\n```sh east north\nd\ne\n```\n"
    assert read_blocks(text) == [Block("A", ("west",), "b\n"), Block("C", ("east", "north"), "d\ne\n")]
    with pytest.raises(ValueError, match="neither run nor text"):
        read_blocks("# A\n```sh\nb\n```\n")
