"""Creating, updating and deleting, for objects of any kind."""

import pytest

from tests.lab.api_contract.api import MERGE_PATCH, Api, config_map, deployment, pod

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_created_objects_get_identity_and_defaults(api: Api) -> None:
    namespace = await api.namespace()
    created = await api.call("POST", f"{namespace}/configmaps", config_map("one", a="b"))
    assert created.status == 201
    meta = created.body["metadata"]
    assert meta["uid"]
    assert meta["creationTimestamp"].endswith("Z")
    assert int(meta["resourceVersion"]) > 0
    assert meta["namespace"] == namespace.rpartition("/")[2]


async def test_a_second_object_of_one_name_already_exists(api: Api) -> None:
    namespace = await api.namespace()
    await api.call("POST", f"{namespace}/configmaps", config_map("one"))
    again = await api.call("POST", f"{namespace}/configmaps", config_map("one"))
    assert (again.status, again.reason) == (409, "AlreadyExists")
    assert again.message == 'configmaps "one" already exists'
    assert again.body["details"] == {"name": "one", "kind": "configmaps"}


async def test_a_missing_namespace_is_not_found(api: Api) -> None:
    answer = await api.call("POST", "/api/v1/namespaces/nowhere/configmaps", config_map("one"))
    assert (answer.status, answer.message) == (404, 'namespaces "nowhere" not found')


async def test_generated_names_begin_as_asked(api: Api) -> None:
    namespace = await api.namespace()
    body = {"metadata": {"generateName": "web-"}}
    answers = [await api.call("POST", f"{namespace}/configmaps", body) for _ in range(2)]
    names = {answer.body["metadata"]["name"] for answer in answers}
    assert len(names) == 2
    assert all(name.startswith("web-") and len(name) == 9 for name in names)


async def test_dry_run_stores_nothing(api: Api) -> None:
    namespace = await api.namespace()
    assert (await api.call("POST", f"{namespace}/configmaps", config_map("one"), dryRun="All")).status == 201
    assert (await api.call("GET", f"{namespace}/configmaps/one")).status == 404


async def test_an_update_of_an_old_version_conflicts(api: Api) -> None:
    namespace = await api.namespace()
    path = f"{namespace}/configmaps/one"
    first = (await api.call("POST", f"{namespace}/configmaps", config_map("one"))).body
    await api.call("PUT", path, {**first, "data": {"a": "1"}})
    stale = await api.call("PUT", path, {**first, "data": {"a": "2"}})
    assert (stale.status, stale.reason) == (409, "Conflict")
    assert stale.message.startswith('Operation cannot be fulfilled on configmaps "one": the object has been')


async def test_an_update_that_changes_nothing_keeps_the_version(api: Api) -> None:
    namespace = await api.namespace()
    first = (await api.call("POST", f"{namespace}/configmaps", config_map("one", a="b"))).body
    again = (await api.call("PUT", f"{namespace}/configmaps/one", first)).body
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_spec_and_status_are_written_apart(api: Api) -> None:
    namespace = (await api.namespace()).replace("/api/v1", "/apis/apps/v1")
    created = (await api.call("POST", f"{namespace}/deployments", deployment("web"))).body
    path = f"{namespace}/deployments/web"
    assert created["metadata"]["generation"] == 1
    both = {**created, "spec": {**created["spec"], "replicas": 3}, "status": {"replicas": 9}}
    main = (await api.call("PUT", path, both)).body
    assert (main["spec"]["replicas"], main["metadata"]["generation"]) == (3, 2)
    assert "replicas" not in main["status"]
    status = {**main, "spec": {**main["spec"], "replicas": 7}, "status": {"replicas": 2}}
    after = (await api.call("PUT", f"{path}/status", status)).body
    assert (after["spec"]["replicas"], after["status"]["replicas"]) == (3, 2)
    assert after["metadata"]["generation"] == 2


async def test_finalizers_hold_an_object_until_the_last_is_gone(api: Api) -> None:
    namespace = await api.namespace()
    body = config_map("one") | {"metadata": {"name": "one", "finalizers": ["example.com/hold"]}}
    await api.call("POST", f"{namespace}/configmaps", body)
    path = f"{namespace}/configmaps/one"
    assert "deletionTimestamp" in (await api.call("DELETE", path)).body["metadata"]
    assert (await api.call("GET", path)).status == 200
    await api.call("PATCH", path, {"metadata": {"finalizers": None}}, content_type=MERGE_PATCH)
    assert (await api.call("GET", path)).status == 404


async def test_a_delete_for_another_object_of_that_name_conflicts(api: Api) -> None:
    namespace = await api.namespace()
    await api.call("POST", f"{namespace}/configmaps", config_map("one"))
    options = {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}
    refused = await api.call("DELETE", f"{namespace}/configmaps/one", options)
    assert (refused.status, refused.reason) == (409, "Conflict")
    text = 'Operation cannot be fulfilled on ConfigMap "one": the UID in the precondition (00000000-0000-'
    assert refused.message.startswith(text)
    assert refused.message.endswith("The object might have been deleted and then recreated")


async def test_a_collection_is_deleted_by_selector(api: Api) -> None:
    namespace = await api.namespace()
    for name, labels in (("a", {"x": "y"}), ("b", {})):
        await api.call("POST", f"{namespace}/secrets", {"metadata": {"name": name, "labels": labels}})
    await api.call("DELETE", f"{namespace}/secrets", labelSelector="x=y")
    left = (await api.call("GET", f"{namespace}/secrets")).body["items"]
    assert [one["metadata"]["name"] for one in left] == ["b"]


async def test_protected_namespaces_stay(api: Api) -> None:
    refused = await api.call("DELETE", "/api/v1/namespaces/kube-system")
    assert (refused.status, refused.reason) == (403, "Forbidden")
    assert refused.message == 'namespaces "kube-system" is forbidden: this namespace may not be deleted'


async def test_nothing_new_is_created_in_a_namespace_that_ends(api: Api) -> None:
    namespace = await api.namespace()
    await api.call("POST", f"{namespace}/configmaps", config_map("old"))
    ended = (await api.call("DELETE", namespace)).body
    assert ended["status"]["phase"] == "Terminating"
    refused = await api.call("POST", f"{namespace}/configmaps", config_map("new"))
    assert refused.status == 403
    assert "because it is being terminated" in refused.message
    assert refused.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"


async def test_malformed_bodies_are_bad_requests(api: Api) -> None:
    namespace = await api.namespace()
    wrong_kind = await api.call("POST", f"{namespace}/configmaps", {**pod("x")})
    assert (wrong_kind.status, wrong_kind.reason) == (400, "BadRequest")
    wrong_type = await api.call(
        "POST", f"{namespace}/configmaps", {"metadata": {"name": "x"}, "data": {"a": 1}}
    )
    assert wrong_type.status == 400
    assert wrong_type.message == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: '
        "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
    )
    assert (await api.call("POST", f"{namespace}/configmaps", b"{not json")).status == 400


async def test_unknown_fields_are_refused_strictly_and_dropped_otherwise(api: Api) -> None:
    namespace = await api.namespace()
    body = config_map("one") | {"dat": {"a": "b"}}
    strict = await api.call("POST", f"{namespace}/configmaps", body, fieldValidation="Strict")
    assert strict.status == 400
    assert 'strict decoding error: unknown field "dat"' in strict.message
    warned = await api.call("POST", f"{namespace}/configmaps", body, fieldValidation="Warn")
    assert 'unknown field \\"dat\\"' in warned.headers["Warning"]
    assert "dat" not in warned.body


async def test_bad_names_and_labels_are_named(api: Api) -> None:
    namespace = await api.namespace()
    body = {"metadata": {"name": "Bad_Name", "labels": {"a b": "c"}}}
    refused = await api.call("POST", f"{namespace}/configmaps", body)
    assert refused.status == 422
    fields = [cause["field"] for cause in refused.body["details"]["causes"]]
    assert fields == ["metadata.name", "metadata.labels"]
