from isthmus.config.peer_authentication import PEER_AUTHENTICATION
from isthmus.config.store import ConfigStore
from isthmus.dashboard.configz import describe_objects
from isthmus.kube.decoding import Ref


def test_every_object_is_shown_with_what_is_wrong_with_its_latest_version() -> None:
    store = ConfigStore(PEER_AUTHENTICATION)
    good, changed, bad = Ref("a", "good"), Ref("a", "changed"), Ref("b", "bad")
    for ref, modes in ((bad, ["X"]), (good, ["STRICT"]), (changed, ["STRICT", "Y"])):
        for mode in modes:
            store.apply(ref, {"metadata": ref._asdict(), "spec": {"mtls": {"mode": mode}}})
    assert [
        tuple(row.values()) for row in describe_objects([store], {"PeerAuthentication": {good: "no use"}})
    ] == [
        ("PeerAuthentication", "a", "changed", True, "spec.mtls.mode: invalid enum value 'Y'", ""),
        ("PeerAuthentication", "a", "good", True, "", "no use"),
        ("PeerAuthentication", "b", "bad", False, "spec.mtls.mode: invalid enum value 'X'", ""),
    ]
