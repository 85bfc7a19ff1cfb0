"""What is withheld for good is said, once and with its name."""

import msgspec
from structlog.testing import capture_logs

from isthmus.apps.absent_pods import AbsentPods
from tests.translate.fake_view import WEST, FakeView, endpoint, service


async def test_an_endpoint_whose_pod_never_comes_is_told_of_and_one_whose_pod_is_late_is_not() -> None:
    view = FakeView()
    waiting = msgspec.structs.replace(endpoint("10.1.0.9", cluster=WEST), awaited=True)
    late = msgspec.structs.replace(endpoint("10.1.0.8", cluster=WEST), awaited=True)
    key = view.put(service("echo"), waiting, late, endpoint("10.1.0.7", cluster=WEST))
    absent = AbsentPods(view)
    with capture_logs() as logs:
        await absent.look()
        assert (absent.remarks(), logs) == ({}, [])
        view.backing[key] = {80: [waiting, endpoint("10.1.0.8", cluster=WEST)]}
        await absent.look()
        await absent.look()
    said = f"1 endpoints name Pods that are not there, and are not used: {key.namespace}/echo 10.1.0.9"
    assert absent.remarks() == {WEST: [said]}
    assert [(one["cluster"], one["service"], one["first"]) for one in logs] == [
        (WEST, key.hostname(), "10.1.0.9")
    ]
    view.backing[key] = {80: []}
    await absent.look()
    assert absent.remarks() == {}
