from dataclasses import replace as changed

from msgspec.structs import replace

from isthmus.dashboard.endpointz import describe_endpoints, describe_services
from isthmus.model.service import Protocol
from tests.translate.fake_view import EAST, WEST, FakeView, endpoint, pod, service


def test_endpoints_are_shown_with_what_they_speak_and_whose_pod_is_still_to_come() -> None:
    view = FakeView()
    secured = pod("a", "10.0.0.1", account="blue", tls=True)
    view.put(
        service("echo", (80, Protocol.HTTP), west="10.1.0.1"),
        endpoint("10.0.0.1", behind=secured),
        endpoint("10.0.0.2"),
        replace(endpoint("10.0.0.3"), awaited=True),
    )
    shown = describe_endpoints(view)["echo.demo.svc.cluster.local"]["demo"]
    assert shown["ServiceAccounts"] == ["ns/demo/sa/blue"]
    assert list(shown["Shards"]) == ["Kubernetes/west"]
    assert [
        (
            each["Addresses"],
            each["ServicePortName"],
            each["TLSMode"],
            each["ServiceAccount"],
            each["AwaitsPod"],
        )
        for each in shown["Shards"]["Kubernetes/west"]
    ] == [
        (["10.0.0.1"], "port-80", "istio", "blue", False),
        (["10.0.0.2"], "port-80", "disabled", "", False),
        (["10.0.0.3"], "port-80", "disabled", "", True),
    ]
    assert {each["HealthStatus"] for each in shown["Shards"]["Kubernetes/west"]} == {1}


def test_services_are_shown_with_whose_proxies_see_them_and_which_clusters_say_otherwise() -> None:
    view = FakeView()
    view.put(service("all", (80, Protocol.HTTP)))
    own = service("own", (80, Protocol.HTTP), export_to=(".",))
    view.put(changed(own, exports={WEST: (), EAST: (".",)}))
    assert [(row["Attributes"]["ExportTo"], row["exportTo"]) for row in describe_services(view)] == [
        (None, {}),
        ({".": {}}, {"east": ["."], "west": []}),
    ]
