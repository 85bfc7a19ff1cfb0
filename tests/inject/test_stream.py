import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from isthmus.inject.nodes import load_value
from isthmus.inject.settings import InjectionSettings
from isthmus.inject.stream import inject_stream, split_documents, uninject_stream
from isthmus.lib.errors import UserError

GOLDEN = Path(__file__).with_name("golden")
SETTINGS = InjectionSettings(cluster_id="west", network="n1")
SERVICE = "apiVersion: v1\nkind: Service   # kept\nmetadata: {name: echo}\n"
POD = (
    "apiVersion: v1\nkind: Pod\nmetadata: {name: echo}\nspec:\n  containers:\n  - {name: echo, image: echo}\n"
)


def injected(text: str, settings: InjectionSettings = SETTINGS) -> tuple[str, Sequence[str]]:
    notes: list[str] = []
    return inject_stream(text, "app.yaml", settings, notes.append), notes


def uninjected(text: str) -> str:
    notes: list[str] = []
    text = uninject_stream(text, "app.yaml", notes.append)
    assert not notes
    return text


def documents(text: str) -> list[Any]:
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("name", ["deployment", "job"])
def test_a_workload_becomes_the_golden_one(name: str) -> None:
    text, notes = injected((GOLDEN / f"{name}.yaml").read_text())
    assert text == (GOLDEN / f"{name}.injected.yaml").read_text()
    assert not notes


@pytest.mark.parametrize("name", ["deployment", "job"])
def test_injecting_again_changes_no_byte(name: str) -> None:
    once, _ = injected((GOLDEN / f"{name}.yaml").read_text())
    assert injected(once) == (once, [])


def test_injecting_a_probe_with_its_defaults_again_changes_no_byte() -> None:
    handler = "{path: /, scheme: HTTP, port: 80}"
    container = f"{{name: a, image: a, readinessProbe: {{httpGet: {handler}}}}}"
    once, _ = injected(
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {{containers: [{container}]}}}}"
    )
    assert "/app-health/a/readyz" in once
    assert injected(once) == (once, [])


@pytest.mark.parametrize("name", ["deployment", "job"])
def test_taking_the_sidecar_out_again_gives_what_went_in(name: str) -> None:
    before = (GOLDEN / f"{name}.yaml").read_text()
    once, _ = injected(before)
    plain = uninjected(once)
    assert documents(plain) == documents(before)
    assert uninjected(plain) == plain
    again, _ = injected(plain)
    assert uninjected(again) == plain
    assert documents(again) == documents(once)


def test_what_was_never_injected_comes_out_byte_for_byte() -> None:
    text = f"# head\n{SERVICE}---\n{POD}"
    assert uninjected(text) == text


def test_what_the_application_says_keeps_its_meaning_and_its_spelling() -> None:
    before = load_value((GOLDEN / "deployment.yaml").read_text())
    text, _ = injected((GOLDEN / "deployment.yaml").read_text())
    after = load_value(text)
    assert after["spec"]["selector"] == before["spec"]["selector"]
    was, now = before["spec"]["template"]["spec"], after["spec"]["template"]["spec"]
    assert now["volumes"][0] == was["volumes"][0]
    changed = {"readinessProbe", "livenessProbe"}
    assert {key: value for key, value in now["containers"][0].items() if key not in changed} == {
        key: value for key, value in was["containers"][0].items() if key not in changed
    }
    for spelling in ('value: "1e3"', "value: 'yes'", "defaultMode: 0644", 'print("1e3")', "cpu: 1e-1"):
        assert spelling in text


def test_a_label_given_by_an_anchor_does_not_reach_the_selector() -> None:
    text, _ = injected((GOLDEN / "deployment.yaml").read_text())
    (deployment,) = documents(text)
    assert deployment["spec"]["selector"]["matchLabels"] == {"app": "echo"}
    assert deployment["spec"]["template"]["metadata"]["labels"] == {
        "app": "echo",
        "security.istio.io/tlsMode": "istio",
    }


def test_other_documents_stay_byte_for_byte() -> None:
    stream = f"# head\n{SERVICE}---\n# the pod\n{POD}---\n\n---   # note\n{SERVICE}...\n---\n# only words\n"
    text, _ = injected(stream)
    head, rest = text.split("---\n# the pod\n")
    assert head == f"# head\n{SERVICE}"
    assert rest.endswith(f"---\n\n---   # note\n{SERVICE}...\n---\n# only words\n")
    assert [
        len(each["spec"]["containers"]) for each in documents(text) if each and each["kind"] == "Pod"
    ] == [2]


@pytest.mark.parametrize(
    "text", ["", "\n", "# nothing\n", "---\n---\n", SERVICE, SERVICE.replace("\n", "\r\n")]
)
def test_a_stream_without_workloads_is_itself(text: str) -> None:
    assert injected(text) == (text, [])


@given(
    st.lists(st.sampled_from(["---\n", "--- \n", "---x\n", " ---\n", "a: 1\n", "\n", "# c\n", "...\n", "z"]))
)
def test_the_documents_of_a_stream_are_the_stream(lines: list[str]) -> None:
    text = "".join(lines)
    split = list(split_documents(text))
    assert "".join(document.text for document in split) == text
    assert [document.line for document in split] == sorted({document.line for document in split})


def test_a_document_that_starts_on_its_marker_line_is_injected() -> None:
    text, _ = injected(
        "--- {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a}]}}\n"
    )
    assert text.startswith("---\n")
    (pod,) = documents(text)
    assert [container["name"] for container in pod["spec"]["containers"]] == ["a", "istio-proxy"]


def test_text_of_ours_that_looks_like_a_number_is_quoted() -> None:
    text, _ = injected(POD, InjectionSettings(cluster_id="1e3", network="y", image="0o17"))
    assert "value: '1e3'" in text
    assert "value: 'y'" in text
    assert "image: '0o17'" in text


def test_json_is_injected_too() -> None:
    text, _ = injected(
        '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},\n'
        ' "spec": {"containers": [{"name": "a"}]}}'
    )
    (pod,) = documents(text)
    assert pod["metadata"]["labels"] == {"security.istio.io/tlsMode": "istio"}


def test_a_merge_key_is_resolved_where_the_pod_is_changed() -> None:
    text, _ = injected(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n"
        "base: &base {containers: [{name: a}], nodeName: n}\n"
        "spec:\n  template:\n    spec:\n      <<: *base\n      nodeName: m\n"
    )
    (deployment,) = documents(text)
    spec = deployment["spec"]["template"]["spec"]
    assert [container["name"] for container in spec["containers"]] == ["a", "istio-proxy"]
    assert spec["nodeName"] == "m"
    assert deployment["base"] == {"containers": [{"name": "a"}], "nodeName": "n"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: b\n---\nkind: [", "app.yaml:1: this object has no kind"),
        (f"{SERVICE}---\nkind: [\n", r"app\.yaml:5: this is no YAML"),
        (f"{SERVICE}---\na: b: c\n", r"app\.yaml:5: this is no YAML"),
        (f"{SERVICE}---\nname: x\n", r"app\.yaml:4: this object has no kind"),
        ("kind: Pod\n", "no apiVersion"),
        ("- a\n", "no Kubernetes object but a list"),
        ("text\n", "no Kubernetes object but a str"),
        ("? [a]\n: b\n", "a key must be a single word"),
        ("a: &a [*a]\n", "this is no YAML"),
        ("a: \x00\n", "this is no YAML"),
    ],
)
def test_bad_input_is_said_with_its_line(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        injected(text)


def test_a_pod_on_the_hosts_network_is_left_alone_and_said() -> None:
    text = POD.replace("spec:\n", "spec:\n  hostNetwork: true\n")
    unchanged, notes = injected(text)
    assert unchanged == text
    assert len(notes) == 1
    assert "app.yaml:1: Pod echo" in notes[0]
    assert "spec.hostNetwork" in notes[0]


TEMPLATE = "{template: {spec: {containers: [{name: a}]}}}"


@pytest.mark.parametrize(
    ("version", "kind", "spec"),
    [
        ("v1", "ReplicationController", TEMPLATE),
        ("batch/v1", "Job", TEMPLATE),
        ("batch/v1beta1", "CronJob", f"{{jobTemplate: {{spec: {TEMPLATE}}}}}"),
    ],
)
def test_further_kinds_with_pods_are_injected(version: str, kind: str, spec: str) -> None:
    text, notes = injected(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n")
    assert not notes
    assert "isthmus/proxyv2" in text
    assert "spec.template" not in text


def test_items_of_a_list_that_need_no_change_keep_their_spelling() -> None:
    text, notes = injected(
        "apiVersion: v1\nkind: List\nitems:\n"
        "- {apiVersion: v1, kind: ConfigMap, metadata: {name: 'a'}, data: {n: \"1e3\"}}\n"
        "- {apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {containers: [{name: c, image: '0o1'}]}}\n"
        "- {apiVersion: v1, kind: Pod, metadata: {name: d},\n"
        "   spec: {hostNetwork: true, containers: [{name: e}]}}\n"
    )
    assert "- {apiVersion: v1, kind: ConfigMap, metadata: {name: 'a'}, data: {n: \"1e3\"}}\n" in text
    assert "{name: c, image: '0o1'}" in text
    (listed,) = documents(text)
    assert [len(item.get("spec", {}).get("containers", ())) for item in listed["items"]] == [0, 2, 1]
    assert [note.split(": left")[0] for note in notes] == ["app.yaml:1: items[2]: Pod d"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"apiVersion: argoproj.io/v1\nkind: Rollout\nspec: {TEMPLATE}\n", "Rollout: .* spec.template"),
        ("apiVersion: v1\nkind: PodTemplate\n" + TEMPLATE[1:-1], "PodTemplate: .* a pod in template"),
        ("apiVersion: v1\nkind: PodList\nitems: [{}]\n", "PodList: left as it is"),
        (POD.replace("name: echo}\n", "name: echo, namespace: kube-system}\n", 1), "namespace kube-system"),
        (
            POD.replace("name: echo}\n", "name: echo, labels: {sidecar.istio.io/inject: 'no'}}\n", 1),
            "inject is 'no'",
        ),
    ],
)
def test_pods_that_get_no_sidecar_are_named(text: str, said: str) -> None:
    unchanged, notes = injected(text)
    assert unchanged == text
    assert len(notes) == 1
    assert re.search(said, notes[0])


def test_what_an_annotation_cannot_do_is_said_while_the_pod_is_injected() -> None:
    text = POD.replace(
        "name: echo}\n", "name: echo, annotations: {sidecar.istio.io/bootstrapOverride: x}}\n", 1
    )
    changed, notes = injected(text)
    assert notes == ["app.yaml:1: Pod echo: annotation sidecar.istio.io/bootstrapOverride has no effect"]
    assert "istio-proxy" in changed


def test_an_error_in_a_list_names_its_item() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n"
    with pytest.raises(UserError, match=r"app\.yaml:1: items\[0\]: Pod a: spec is missing"):
        injected(text)
