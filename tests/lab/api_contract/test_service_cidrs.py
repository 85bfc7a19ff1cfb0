"""ServiceCIDRs (networking.k8s.io/v1, Kubernetes 1.33): where the addresses of Services come from."""

from ipaddress import ip_address, ip_network

import pytest

from tests.lab.api_contract.api import MERGE_PATCH, Api

pytestmark = pytest.mark.asyncio(loop_scope="session")
PATH = "/apis/networking.k8s.io/v1/servicecidrs"


async def test_the_range_of_services_is_an_object_whose_ranges_stay(api: Api) -> None:
    found = (await api.call("GET", f"{PATH}/kubernetes")).body
    (first, *_) = found["spec"]["cidrs"]
    kubernetes = (await api.call("GET", "/api/v1/namespaces/default/services/kubernetes")).body
    assert ip_address(kubernetes["spec"]["clusterIP"]) in ip_network(first)

    patch = {"spec": {"cidrs": ["192.0.2.0/24"]}}
    path = f"{PATH}/kubernetes?dryRun=All"
    refused = await api.call("PATCH", path, patch, content_type=MERGE_PATCH)
    assert refused.status == 422
    causes = [(each["field"], each["message"]) for each in refused.body["details"]["causes"]]
    assert causes == [("spec.cidrs[0]", 'Invalid value: "192.0.2.0/24": field is immutable')]

    empty = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "empty"}}
    refused = await api.call("POST", f"{PATH}?dryRun=All", empty)
    assert refused.status == 422
    assert "at least one CIDR required" in refused.body["message"]
