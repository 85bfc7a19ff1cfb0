from msgspec.structs import replace

from isthmus.dashboard.endpointz import describe_endpoints
from isthmus.model.service import Protocol
from tests.translate.fake_view import FakeView, endpoint, pod, service


def test_endpoints_are_shown_with_what_they_speak_and_whose_pod_is_still_to_come() -> None:
    view = FakeView()
    secured = pod("a", "10.0.0.1", account="blue", tls=True)
    view.put(
        service("echo", (80, Protocol.HTTP), west="10.1.0.1"),
        endpoint("10.0.0.1", behind=secured),
        endpoint("10.0.0.2"),
        replace(endpoint("10.0.0.3"), awaited=True),
    )
    [row] = describe_endpoints(view)
    assert row["svc"] == "echo.demo.svc.cluster.local:port-80"
    shown = [each["endpoint"] for each in row["ep"]]
    assert [
        (each["Address"], each["TLSMode"], each["ServiceAccount"], each["AwaitsPod"]) for each in shown
    ] == [
        ("10.0.0.1", "istio", "blue", False),
        ("10.0.0.2", "disabled", "", False),
        ("10.0.0.3", "disabled", "", True),
    ]
