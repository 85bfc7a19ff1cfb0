from typing import Any

import pytest

from isthmus.lab.apiserver import deletion, kinds, subresources, writing
from isthmus.lab.apiserver.cluster import Cluster
from isthmus.lab.apiserver.deletion import DeleteOptions
from isthmus.lab.apiserver.errors import RefusedError
from isthmus.lab.apiserver.objects import Object, copy
from isthmus.lab.apiserver.resource import Resource
from isthmus.lab.apiserver.reviews import review
from tests.lab.apiserver.building import ADMIN, create, create_pod, target


def _delete(cluster: Cluster, resource: Resource, name: str, **options: object) -> tuple[Object, bool]:
    at = target(resource, name)
    return deletion.delete(cluster, at, writing.current(cluster, at), deletion.read_options(options, {}))


def _exists(cluster: Cluster, resource: Resource, name: str) -> bool:
    return cluster.store.get(resource, target(resource, name).key) is not None


def _service(cluster: Cluster, name: str, **spec: object) -> Object:
    return create(cluster, kinds.SERVICES, name, spec={"ports": [{"port": 80}], **spec})["spec"]


def test_cluster_addresses_differ_and_leave_the_low_band_free(cluster: Cluster) -> None:
    addresses = [_service(cluster, f"s{number}")["clusterIP"] for number in range(5)]
    assert len(set(addresses)) == 5
    assert all(int(one.split(".")[2]) >= 1 for one in addresses)
    assert _service(cluster, "dns", clusterIP="10.96.0.10")["clusterIP"] == "10.96.0.10"
    with pytest.raises(RefusedError, match="provided IP is already allocated"):
        _service(cluster, "other", clusterIP="10.96.0.10")


def test_an_address_is_free_again_with_its_service(cluster: Cluster) -> None:
    first = _service(cluster, "one")["clusterIP"]
    _delete(cluster, kinds.SERVICES, "one")
    assert _service(cluster, "two")["clusterIP"] == first


def test_node_ports_are_given_and_kept(cluster: Cluster) -> None:
    spec = _service(cluster, "one", type="NodePort")
    port = spec["ports"][0]["nodePort"]
    assert 30000 <= port <= 32767
    body: Object = {"metadata": {"name": "one"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    updated, created = writing.update(cluster, target(kinds.SERVICES, "one"), body)
    assert not created
    assert updated["spec"]["ports"][0]["nodePort"] == port


def test_a_service_that_becomes_external_gives_its_address_back(cluster: Cluster) -> None:
    _service(cluster, "one")
    old = writing.current(cluster, target(kinds.SERVICES, "one")).object
    changed = copy(old)
    changed["spec"] |= {"type": "ExternalName", "externalName": "example.com"}
    updated, _ = writing.update(cluster, target(kinds.SERVICES, "one"), changed)
    assert "clusterIP" not in updated["spec"]


def test_a_pods_own_token_mount_is_left_alone(cluster: Cluster) -> None:
    pod = create_pod(cluster, "plain", automountServiceAccountToken=False)
    assert "volumes" not in pod["spec"]
    mount = {"name": "mine", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    containers = [{"name": "main", "image": "x", "volumeMounts": [mount]}]
    volumes: list[Object] = [{"name": "mine", "emptyDir": {}}]
    own = create_pod(cluster, "own", containers=containers, volumes=volumes)
    assert own["spec"]["volumes"] == volumes


def test_an_account_may_forbid_the_token(cluster: Cluster) -> None:
    create(cluster, kinds.SERVICE_ACCOUNTS, "shy", automountServiceAccountToken=False)
    assert "volumes" not in create_pod(cluster, "one", serviceAccountName="shy")["spec"]


def test_quality_of_service_follows_requests_and_limits(cluster: Cluster) -> None:
    limits = {"cpu": "1", "memory": "1Gi"}
    for name, resources, expected in (
        ("a", {}, "BestEffort"),
        ("b", {"requests": {"cpu": "1"}}, "Burstable"),
        ("c", {"limits": limits}, "Guaranteed"),
    ):
        containers = [{"name": "main", "image": "x", "resources": resources}]
        assert create_pod(cluster, name, containers=containers)["status"]["qosClass"] == expected


def test_an_unbound_pod_goes_at_once_and_a_bound_one_has_its_grace(cluster: Cluster) -> None:
    create_pod(cluster, "unbound")
    assert _delete(cluster, kinds.PODS, "unbound")[1]
    create_pod(cluster, "bound", nodeName="n")
    first, gone = _delete(cluster, kinds.PODS, "bound")
    assert not gone
    assert first["metadata"]["deletionGracePeriodSeconds"] == 30
    shorter, _ = _delete(cluster, kinds.PODS, "bound", gracePeriodSeconds=5)
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    longer, _ = _delete(cluster, kinds.PODS, "bound", gracePeriodSeconds=50)
    assert longer["metadata"]["deletionGracePeriodSeconds"] == 5
    assert _delete(cluster, kinds.PODS, "bound", gracePeriodSeconds=0)[1]


def test_a_foreground_delete_waits_for_the_garbage_collector(cluster: Cluster) -> None:
    create(cluster, kinds.CONFIG_MAPS, "one")
    last, gone = _delete(cluster, kinds.CONFIG_MAPS, "one", propagationPolicy="Foreground")
    assert not gone
    assert last["metadata"]["finalizers"] == ["foregroundDeletion"]
    changed = copy(last)
    changed["metadata"]["finalizers"] = []
    writing.update(cluster, target(kinds.CONFIG_MAPS, "one"), changed)
    assert not _exists(cluster, kinds.CONFIG_MAPS, "one")


def test_finalizers_cannot_be_added_to_what_is_being_deleted(cluster: Cluster) -> None:
    create(cluster, kinds.CONFIG_MAPS, "one", metadata={"finalizers": ["example.com/a"]})
    last, _ = _delete(cluster, kinds.CONFIG_MAPS, "one")
    changed = copy(last)
    changed["metadata"]["finalizers"] = ["example.com/a", "example.com/b"]
    with pytest.raises(RefusedError) as refused:
        writing.update(cluster, target(kinds.CONFIG_MAPS, "one"), changed)
    assert refused.value.code == 422


def test_a_namespace_goes_when_it_is_finalized(cluster: Cluster) -> None:
    create(cluster, kinds.NAMESPACES, "demo")
    last, gone = _delete(cluster, kinds.NAMESPACES, "demo")
    assert not gone
    assert last["status"]["phase"] == "Terminating"
    finalized: Object = {**copy(last), "spec": {"finalizers": []}}
    subresources.finalize(cluster, target(kinds.NAMESPACES, "demo"), finalized)
    assert not _exists(cluster, kinds.NAMESPACES, "demo")


def test_an_eviction_respects_the_disruption_budget(cluster: Cluster) -> None:
    pod = create_pod(cluster, "one")
    at = target(kinds.PODS, "one")
    budget = create(cluster, kinds.POD_DISRUPTION_BUDGETS, "all", spec={"minAvailable": 1, "selector": {}})
    eviction: Object = {"metadata": {"name": "one"}}
    with pytest.raises(RefusedError) as refused:
        subresources.evict(cluster, at, eviction)
    assert (refused.value.code, refused.value.reason) == (429, "TooManyRequests")
    allowing = copy(budget)
    allowing["status"]["disruptionsAllowed"] = 1
    cluster.store.commit(
        kinds.POD_DISRUPTION_BUDGETS, target(kinds.POD_DISRUPTION_BUDGETS, "all").key, allowing
    )
    subresources.evict(cluster, at, eviction)
    assert not _exists(cluster, kinds.PODS, pod["metadata"]["name"])


def test_a_lease_is_not_replaced_without_its_version(cluster: Cluster) -> None:
    body: Object = {"metadata": {"name": "one"}, "spec": {"holderIdentity": "a"}}
    at = target(kinds.LEASES, "one")
    first, created = writing.update(cluster, at, copy(body))
    assert created
    with pytest.raises(RefusedError, match="must be specified for an update"):
        writing.update(cluster, at, copy(body))
    changed = copy(first)
    changed["spec"]["holderIdentity"] = "b"
    assert writing.update(cluster, at, changed)[0]["spec"]["holderIdentity"] == "b"


def test_identity_is_the_servers_business(cluster: Cluster) -> None:
    made = create(cluster, kinds.CONFIG_MAPS, "one", metadata={"uid": "mine", "generation": 7})
    assert made["metadata"]["uid"] != "mine"
    assert "generation" not in made["metadata"]
    changed = copy(made)
    changed["metadata"] |= {"creationTimestamp": "2000-01-01T00:00:00Z", "labels": {"a": "b"}}
    updated, _ = writing.update(cluster, target(kinds.CONFIG_MAPS, "one"), changed)
    assert updated["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]


def test_stored_objects_are_not_touched_by_a_refused_change(cluster: Cluster) -> None:
    create_pod(cluster, "one")
    at = target(kinds.PODS, "one")
    before = copy(writing.current(cluster, at).object)
    patch = {"spec": {"containers": [{"name": "main", "command": ["x"], "env": [{"name": "A"}]}]}}
    with pytest.raises(RefusedError):
        writing.patch(cluster, at, "application/strategic-merge-patch+json", patch)
    assert writing.current(cluster, at).object == before


def test_delete_options_that_make_no_sense_are_refused() -> None:
    nonsense: list[Any] = [{"propagationPolicy": "Sideways"}, {"gracePeriodSeconds": "soon"}, [1]]
    for body in nonsense:
        with pytest.raises(RefusedError):
            deletion.read_options(body, {})
    assert deletion.read_options(None, {"gracePeriodSeconds": "3"}) == DeleteOptions(grace=3)


def test_an_access_review_asks_one_thing(cluster: Cluster) -> None:
    for spec in ({}, {"resourceAttributes": {"verb": "get"}, "nonResourceAttributes": {"path": "/"}}):
        with pytest.raises(RefusedError, match=r"exactly one of|cannot be specified in combination"):
            review(cluster, kinds.SELF_SUBJECT_ACCESS_REVIEWS, "", ADMIN, {"spec": spec})
