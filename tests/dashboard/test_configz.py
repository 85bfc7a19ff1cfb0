from typing import Any

from isthmus.config.peer_authentication import PEER_AUTHENTICATION
from isthmus.config.store import ConfigStore
from isthmus.dashboard.configz import describe_objects
from isthmus.kube.decoding import Ref


def test_every_object_is_shown_as_istiod_does_with_what_is_wrong_with_its_latest_version() -> None:
    store = ConfigStore(PEER_AUTHENTICATION)
    good, changed, bad, gone = (Ref("a", "good"), Ref("a", "changed"), Ref("b", "bad"), Ref("b", "gone"))
    managed = [{"manager": "kubectl"}]
    for ref, modes in ((bad, ["Z", "X"]), (good, ["STRICT"]), (gone, ["Y"]), (changed, ["STRICT", "Y"])):
        for version, mode in enumerate(modes, 1):
            metadata = {**ref._asdict(), "resourceVersion": str(version), "managedFields": managed}
            store.apply(ref, {"metadata": metadata, "spec": {"mtls": {"mode": mode}}})
    store.remove(gone)
    rows = describe_objects([store], {"PeerAuthentication": {good: "no use"}})
    assert {(row.pop("kind"), row.pop("apiVersion")) for row in rows} == {
        ("PeerAuthentication", "security.istio.io/v1")
    }

    def row(ref: Ref, version: str, mode: str, *ours: Any) -> dict[str, Any]:
        metadata = {**ref._asdict(), "resourceVersion": version}
        return {
            "metadata": metadata,
            "spec": {"mtls": {"mode": mode}},
            **dict(zip(("inForce", "rejected", "idle"), ours, strict=True)),
        }

    assert rows == [
        row(changed, "1", "STRICT", True, "spec.mtls.mode: invalid enum value 'Y'", ""),
        row(good, "1", "STRICT", True, "", "no use"),
        row(bad, "2", "X", False, "spec.mtls.mode: invalid enum value 'X'", ""),
    ]
    assert describe_objects([ConfigStore(PEER_AUTHENTICATION)], {}) == []
