from collections.abc import Iterator

from isthmus.lab.apiserver.cluster import Cluster
from isthmus.lab.apiserver.openapi_v2 import document_v2, encode_v2
from isthmus.lib.protobuf import read_fields


def parts(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message of which all have a length."""
    for number, part in read_fields(content):
        assert isinstance(part, bytes)
        yield number, part


def at(content: bytes, *path: int) -> bytes:
    """The first field of that number, and so on below it."""
    for number in path:
        content = next(part for each, part in parts(content) if each == number)
    return content


def named(content: bytes, number: int) -> dict[str, bytes]:
    """What a message holds by name in its field of that number."""
    held = [part for each, part in parts(content) if each == number]
    return {at(one, 1).decode(): at(one, 2) for one in held}


def test_the_protobuf_form_says_what_the_json_form_does(cluster: Cluster) -> None:
    """With the numbers of openapi.v2: Document, Schema, PathItem, Operation."""
    document = document_v2(cluster.kinds)
    encoded = encode_v2(document)
    assert at(encoded, 2, 1) == b"Kubernetes"
    schemas = named(at(encoded, 9), 1)
    assert schemas.keys() == document["definitions"].keys()
    spec = schemas["io.k8s.api.core.v1.PodSpec"]
    containers = named(at(spec, 25), 1)["containers"]
    assert (at(containers, 22, 1), at(spec, 22, 1)) == (b"array", b"object")
    assert at(containers, 23, 1, 1) == b"#/definitions/io.k8s.api.core.v1.Container"
    assert at(named(containers, 31)["x-kubernetes-list-map-keys"], 2) == b'["name"]'
    labels = named(at(schemas["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"], 25), 1)["labels"]
    assert at(labels, 21, 1, 22, 1) == b"string"
    paths = named(at(encoded, 8), 2)
    assert paths.keys() == document["paths"].keys()
    patch = at(paths["/api/v1/namespaces/{namespace}/configmaps/{name}"], 8)
    asked = [at(part, 1, 2, 3, 4) for number, part in parts(patch) if number == 8]
    assert asked == [b"dryRun", b"fieldManager", b"fieldValidation", b"force"]
    assert b'"ConfigMap"' in at(named(patch, 13)["x-kubernetes-group-version-kind"], 2)
    assert at(named(at(patch, 9), 1)["200"], 1, 1) == b"OK"


def test_what_v2_has_no_word_for_is_left_open(cluster: Cluster) -> None:
    known = document_v2(cluster.kinds)["definitions"]
    assert known["io.k8s.api.core.v1.ResourceRequirements"]["properties"]["limits"] == {
        "type": "object",
        "additionalProperties": {"type": "string"},
    }
    managed = known["io.k8s.apimachinery.pkg.apis.meta.v1.ManagedFieldsEntry"]["properties"]["fieldsV1"]
    assert managed == {"x-kubernetes-preserve-unknown-fields": True}
    port = known["io.k8s.api.core.v1.ServicePort"]["properties"]["targetPort"]
    assert port == {"type": "string", "format": "int-or-string"}
