"""Policy checks: the filters by which a sidecar asks the policy server before it lets anything in. Pure.

Only workloads to which a rule may apply have them. What the destination is the filter says itself, in the
metadata of its calls: static configuration of the destination's own proxy.
"""

from dataclasses import dataclass

from envoy.config.core.v3 import grpc_service_pb2
from envoy.config.core.v3.base_pb2 import HeaderValue
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2 as http_pb2
from envoy.extensions.filters.network.ext_authz.v3 import ext_authz_pb2 as network_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from isthmus.config.mesh import MeshConfig
from isthmus.config.policy_context import CONTEXT_METADATA, Destination, context_text
from isthmus.config.policy_scope import Policies, about_requests, rules_for
from isthmus.model.view import MeshView
from isthmus.model.workload import Workload
from isthmus.translate import names
from isthmus.translate.wire import duration, pack

_V3 = ApiVersion.Value("V3")


@dataclass(frozen=True, slots=True)
class PolicyCheck:
    """One workload as its filters name it. `services` are host names by own port; `connections`: there are
    rules that say something of a connection without requests.
    """

    cluster: str
    namespace: str
    workload: str
    account: str
    labels: tuple[tuple[str, str], ...]
    services: tuple[tuple[int, str], ...]
    connections: bool

    def at(self, port: int) -> Destination:
        """The destination that one of its ports is; 0 for ports that no service names."""
        service = dict(self.services).get(port, "")
        return Destination(
            self.cluster, self.namespace, self.workload, service, self.account, dict(self.labels)
        )


def policy_check(
    workload: Workload, view: MeshView, policies: Policies, mesh: MeshConfig
) -> PolicyCheck | None:
    """What the workload's sidecar asks about; None where no rule can apply, and where checks are off."""
    if mesh.disable_policy_checks:
        return None
    key = workload.key
    destination = Destination(
        key.cluster, key.namespace, workload.owner, "", workload.service_account, workload.labels
    )
    rules = list(rules_for(policies, destination, root_namespace=mesh.root_namespace))
    if not rules:
        return None
    services: dict[int, str] = {}
    for port in view.inbound_ports(workload):
        services.setdefault(port.target_port, port.service.hostname())
    return PolicyCheck(
        cluster=destination.cluster,
        namespace=destination.namespace,
        workload=destination.workload,
        account=destination.account,
        labels=tuple(sorted(destination.labels.items())),
        services=tuple(sorted(services.items())),
        connections=not all(map(about_requests, rules)),
    )


def http_checks(check: PolicyCheck | None, port: int, mesh: MeshConfig) -> list[hcm_pb2.HttpFilter]:
    """The HTTP filter that asks about each request to an own port, or none."""
    if check is None:
        return []
    authz = http_pb2.ExtAuthz(
        transport_api_version=_V3,
        grpc_service=_server(check.at(port), mesh),
        failure_mode_allow=mesh.policy_check_fail_open,
        failure_mode_allow_header_add=mesh.policy_check_fail_open,
        include_tls_session=True,
    )
    return [hcm_pb2.HttpFilter(name="envoy.filters.http.ext_authz", typed_config=pack(authz))]


def tcp_checks(check: PolicyCheck | None, port: int, mesh: MeshConfig) -> list[Filter]:
    """The network filter that asks about each connection to an own port (0: to any other port), or none."""
    if check is None or not check.connections:
        return []
    authz = network_pb2.ExtAuthz(
        stat_prefix="policy",
        transport_api_version=_V3,
        grpc_service=_server(check.at(port), mesh),
        failure_mode_allow=mesh.policy_check_fail_open,
        include_tls_session=True,
    )
    return [Filter(name="envoy.filters.network.ext_authz", typed_config=pack(authz))]


def _server(destination: Destination, mesh: MeshConfig) -> grpc_service_pb2.GrpcService:
    """Where checks are answered, and how long that may take. Envoy reads % in metadata as a command."""
    context = context_text(destination).replace("%", "%%")
    service = grpc_service_pb2.GrpcService(
        timeout=duration(mesh.isthmus.policy_check_timeout),
        initial_metadata=[HeaderValue(key=CONTEXT_METADATA, value=context)],
    )
    service.envoy_grpc.cluster_name = names.outbound_cluster(*mesh.policy_server)
    return service
