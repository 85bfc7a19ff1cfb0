import pytest

from isthmus.ca.authorization import contradiction
from isthmus.model.identity import Identity
from isthmus.model.proxy import Proxy
from isthmus.model.service import ClusterId, Network
from isthmus.model.workload import Locality, Workload, WorkloadKey

WEST = ClusterId("west")
PROVED = Identity("cluster.local", "demo", "echo", WEST, "echo-1")
BY_CERTIFICATE = Identity("cluster.local", "demo", "echo")


def proxy(
    pod: str = "echo-1",
    namespace: str = "demo",
    cluster: str = "west",
    kind: str = "sidecar",
    **metadata: str,
) -> Proxy:
    node = f"{kind}~10.0.0.1~{pod}.{namespace}~{namespace}.svc.cluster.local"
    return Proxy(node, kind, "10.0.0.1", pod, namespace, ClusterId(cluster), metadata)


def workload(account: str) -> Workload:
    key = WorkloadKey(WEST, "demo", "echo-1")
    return Workload(key, ("10.0.0.1",), {}, {}, account, Network(""), Locality())


@pytest.mark.parametrize("kind", ["sidecar", "router"])
@pytest.mark.parametrize("identity", [PROVED, BY_CERTIFICATE])
def test_a_proxy_that_is_who_it_says_is_served(kind: str, identity: Identity) -> None:
    said = {"NAMESPACE": "demo", "SERVICE_ACCOUNT": "echo"}
    assert contradiction(proxy(kind=kind, **said), identity, workload("echo")) == ""
    assert contradiction(proxy(kind=kind), identity) == ""


@pytest.mark.parametrize("kind", ["sidecar", "router", "waypoint"])
@pytest.mark.parametrize(
    ("claim", "shown"),
    [
        ({"namespace": "other"}, "claims ns/other/sa/echo"),
        ({"NAMESPACE": "other"}, "claims ns/other/sa/echo"),
        ({"SERVICE_ACCOUNT": "admin"}, "claims ns/demo/sa/admin"),
        ({"SERVICE_ACCOUNT": ""}, "claims ns/demo/sa/ but"),
        ({"cluster": "east"}, "claims cluster east"),
        ({"pod": "echo-2"}, "claims pod echo-2"),
    ],
)
def test_a_false_claim_is_refused_naming_both_identities(
    kind: str, claim: dict[str, str], shown: str
) -> None:
    found = contradiction(proxy(kind=kind, **claim), PROVED)
    assert shown in found
    assert "proved spiffe://cluster.local/ns/demo/sa/echo" in found


def test_a_pod_that_runs_as_somebody_else_is_not_its_to_claim() -> None:
    found = contradiction(proxy(), BY_CERTIFICATE, workload("admin"))
    assert "runs as ns/demo/sa/admin" in found
    assert str(BY_CERTIFICATE) in found


def test_what_a_stranger_wrote_is_shown_escaped_and_short() -> None:
    found = contradiction(proxy(namespace="x\n" * 500), PROVED)
    assert "\n" not in found
    assert len(found) < 1200
