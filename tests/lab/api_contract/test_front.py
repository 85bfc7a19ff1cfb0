"""What the server says before it looks at any object: who may ask, and what there is."""

import pytest

from tests.lab.api_contract.api import Api

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_anybody_may_ask_for_health_and_version_and_nothing_else(api: Api) -> None:
    async with api.session_of() as nobody:
        assert (await api.call("GET", "/readyz", session=nobody)).status == 200
        version = await api.call("GET", "/version", session=nobody)
        assert version.body["major"] == "1"
        refused = await api.call("GET", "/api/v1/pods", session=nobody)
    assert (refused.status, refused.reason) == (403, "Forbidden")
    assert refused.message == (
        'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" '
        "at the cluster scope"
    )


async def test_an_unknown_token_is_unauthorized(api: Api) -> None:
    async with api.session_of(token="no.such.token") as stranger:
        refused = await api.call("GET", "/api/v1/pods", session=stranger)
    assert (refused.status, refused.reason) == (401, "Unauthorized")


async def test_discovery_names_groups_and_resources(api: Api) -> None:
    groups = (await api.call("GET", "/apis")).body["groups"]
    assert {"apps", "discovery.k8s.io", "rbac.authorization.k8s.io"} <= {one["name"] for one in groups}
    core = (await api.call("GET", "/api/v1")).body["resources"]
    pods = next(one for one in core if one["name"] == "pods")
    assert pods["namespaced"] is True
    assert pods["shortNames"] == ["po"]
    assert {"watch", "patch", "deletecollection"} <= set(pods["verbs"])


async def test_aggregated_discovery_is_given_to_those_who_ask(api: Api) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    answer = await api.call("GET", "/apis", headers={"Accept": accept})
    assert "as=APIGroupDiscoveryList" in answer.headers["Content-Type"]
    assert any(one["metadata"]["name"] == "apps" for one in answer.body["items"])


async def test_an_unknown_path_is_not_found(api: Api) -> None:
    for path in ("/apis/example.com/v1/things", "/api/v1/widgets"):
        answer = await api.call("GET", path)
        assert answer.status == 404


async def test_the_api_itself_is_a_service(api: Api) -> None:
    found = (await api.call("GET", "/api/v1/namespaces/default/services/kubernetes")).body
    assert found["spec"]["clusterIP"] == "10.96.0.1"
    assert found["spec"]["ports"][0]["port"] == 443
