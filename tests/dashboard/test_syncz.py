from dataclasses import replace

from isthmus.dashboard.syncz import ProxySync, TypeSync, describe_connections, describe_watches
from isthmus.model.resources import CLUSTER, ENDPOINT
from tests.translate.fake_view import proxy

ASKING = ProxySync(
    replace(proxy("a"), metadata={"ISTIO_VERSION": "1.30.0"}),
    "10.0.0.9:1234",
    {
        ENDPOINT: TypeSync("2", "2", synced=True, rejected="", names=frozenset({"y", "x"})),
        CLUSTER: TypeSync("1", "1", synced=True, rejected=""),
    },
    1_767_268_800.0,
)
OTHER = ProxySync(proxy("b", "10.0.0.8"), "10.0.0.8:1", {})


def test_who_is_connected_is_shown_as_istiod_does() -> None:
    assert describe_connections([ASKING]) == {
        "totalClients": 1,
        "clients": [
            {
                "connectionId": ASKING.proxy.node_id,
                "connectedAt": "2026-01-01T12:00:00.000+00:00",
                "address": "10.0.0.9:1234",
            }
        ],
    }


def test_the_names_that_one_proxy_asks_for_are_shown_of_that_one() -> None:
    both = [ASKING, OTHER]
    everybody = describe_watches(both)
    assert everybody is not None
    assert everybody["totalClients"] == 2
    assert [one["watches"] for one in everybody["clients"]] == [{CLUSTER: None, ENDPOINT: None}, {}]
    for name in ("a.demo", ASKING.proxy.node_id):
        alone = describe_watches(both, name)
        assert alone is not None
        [one] = alone["clients"]
        assert one["watches"] == {CLUSTER: [], ENDPOINT: ["x", "y"]}
        assert one["metadata"] == {"ISTIO_VERSION": "1.30.0"}
    assert describe_watches(both, "c.demo") is None
