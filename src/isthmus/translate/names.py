"""Names that Istio gives to Envoy's resources, so that the tools operators already have read ours."""

from isthmus.model.service import ServiceKey

PASSTHROUGH_CLUSTER = "PassthroughCluster"
BLACK_HOLE_CLUSTER = "BlackHoleCluster"
INBOUND_PASSTHROUGH_CLUSTER = "InboundPassthroughCluster"

VIRTUAL_OUTBOUND = "virtualOutbound"
VIRTUAL_INBOUND = "virtualInbound"
OUTBOUND_BLACK_HOLE_CHAIN = "virtualOutbound-blackhole"
OUTBOUND_CATCH_ALL_CHAIN = "virtualOutbound-catchall-tcp"
INBOUND_BLACK_HOLE_CHAIN = "virtualInbound-blackhole"
PASSTHROUGH_CHAIN = "PassthroughFilterChain"

ALLOW_ANY = "allow_any"
BLOCK_ALL = "block_all"

WILDCARD = "0.0.0.0"
WILDCARD_IPV6 = "::"


def outbound_cluster(service: ServiceKey, port: int) -> str:
    """The cluster of a service's port, e.g. `outbound|80||echo.demo.svc.cluster.local`."""
    return f"outbound|{port}||{service.hostname()}"


def service_sni(service: ServiceKey, port: int) -> str:
    """The SNI for a service's port, e.g. `outbound_.80_._.echo.demo.svc.cluster.local`."""
    return f"outbound_.{port}_._.{service.hostname()}"


def inbound_cluster(port: int) -> str:
    """The cluster of one of the pod's own ports, e.g. `inbound|8080||`."""
    return f"inbound|{port}||"


def listener(address: str, port: int) -> str:
    """A listener, e.g. `0.0.0.0_80` or `10.1.2.3_5432`."""
    return f"{address}_{port}"


def port_route(port: int) -> str:
    """The routes of every HTTP service with that port number, e.g. `80`."""
    return str(port)


def service_route(service: ServiceKey, port: int) -> str:
    """The routes of one sniffed port, e.g. `echo.demo.svc.cluster.local:8080`."""
    return f"{service.hostname()}:{port}"


def inbound_virtual_host(service_port: int) -> str:
    """The one virtual host of an inbound port; Istio numbers it by the service's port."""
    return f"inbound|http|{service_port}"
