from typing import Any

import pytest

from isthmus.lab.apiserver.errors import RefusedError
from isthmus.lab.apiserver.kinds import BUILT_IN
from isthmus.lab.apiserver.objects import Object
from isthmus.lab.apiserver.schema import normalised, schema


def _spec(**spec: Any) -> Any:
    return normalised("Deployment", {"apiVersion": "apps/v1", "spec": spec})[0]["spec"]


def test_every_kind_has_a_shape() -> None:
    assert {one.kind for one in BUILT_IN} <= set(schema())


def test_unknown_fields_are_dropped_and_named_by_path() -> None:
    containers = [{"name": "a", "imge": "x"}]
    body = {"kind": "Pod", "spec": {"containers": containers}, "extra": 1}
    typed, unknown = normalised("Pod", body)
    assert typed == {"kind": "Pod", "spec": {"containers": [{"name": "a"}]}}
    assert unknown == ["spec.containers[0].imge", "extra"]


def test_nulls_and_empty_values_go_but_meaningful_zeros_stay() -> None:
    assert _spec(replicas=0, paused=False, minReadySeconds=0, strategy={}) == {"replicas": 0, "strategy": {}}
    meta = normalised("Pod", {"metadata": {"labels": {}, "annotations": None, "creationTimestamp": None}})[0]
    assert meta == {"metadata": {}}
    volume: Object = {"name": "v", "emptyDir": {}}
    pod = normalised("Pod", {"spec": {"containers": [], "volumes": [volume]}})[0]
    assert pod["spec"]["volumes"] == [volume]


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        (
            "Deployment",
            {"spec": {"replicas": "3"}},
            "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        ("Pod", {"spec": {"containers": {}}}, "PodSpec.spec.containers of type []v1.Container"),
        (
            "Pod",
            {"spec": {"containers": [{"ports": [{"containerPort": "80"}]}]}},
            "Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        ("Pod", {"spec": {"terminationGracePeriodSeconds": "1"}}, "of type int64"),
        ("Pod", {"spec": {"containers": ["a"]}}, "PodSpec.spec.containers of type v1.Container"),
        ("Pod", {"spec": {"hostNetwork": 1}}, "of type bool"),
        (
            "Pod",
            {"metadata": {"labels": {"a": 1}}},
            "ObjectMeta.metadata.labels of type string",
        ),
        (
            "Pod",
            {"metadata": []},
            "array into Go struct field Pod.metadata of type v1.ObjectMeta",
        ),
        ("Pod", {"metadata": {"deletionTimestamp": "soon"}}, "parsing time"),
        ("Secret", {"data": {"a": "%%"}}, "illegal base64 data at input byte 0"),
        (
            "Pod",
            {"spec": {"containers": [{"resources": {"limits": {"cpu": "lots"}}}]}},
            "quantities must match the regular expression",
        ),
    ],
)
def test_values_of_the_wrong_type_are_bad_requests(kind: str, body: dict[str, Any], told: str) -> None:
    with pytest.raises(RefusedError) as refused:
        normalised(kind, body)
    assert refused.value.code == 400
    assert told in refused.value.message


def test_quantities_may_be_given_as_numbers() -> None:
    container = {"name": "a", "resources": {"limits": {"cpu": 2}}}
    pod = normalised("Pod", {"spec": {"containers": [container]}})[0]
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "2"}


def test_kinds_without_a_shape_stay_as_they_are() -> None:
    body = {"kind": "Widget", "spec": {"anything": None}}
    assert normalised("Widget", body) == (body, [])
