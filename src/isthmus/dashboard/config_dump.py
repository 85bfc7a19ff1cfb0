"""`/debug/config_dump`: what one proxy was sent, in the form of Envoy's own admin page of that name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from envoy.admin.v3.config_dump_pb2 import ConfigDump
from envoy.admin.v3.config_dump_shared_pb2 import (
    ClustersConfigDump,
    EndpointsConfigDump,
    ListenersConfigDump,
    RoutesConfigDump,
)
from google.protobuf import any_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from isthmus.model.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource


def describe_config(resources: Mapping[str, Sequence[Resource]]) -> dict[str, Any]:
    """An `envoy.admin.v3.ConfigDump` as JSON, from what a proxy holds by type URL."""
    return MessageToDict(dumped(resources))


def dumped(resources: Mapping[str, Sequence[Resource]]) -> ConfigDump:
    """The same as a message."""
    clusters = ClustersConfigDump(
        dynamic_active_clusters=[
            ClustersConfigDump.DynamicCluster(version_info=r.version, cluster=_any(r))
            for r in resources.get(CLUSTER, ())
        ]
    )
    listeners = ListenersConfigDump(
        dynamic_listeners=[
            ListenersConfigDump.DynamicListener(
                name=r.name,
                active_state=ListenersConfigDump.DynamicListenerState(
                    version_info=r.version, listener=_any(r)
                ),
            )
            for r in resources.get(LISTENER, ())
        ]
    )
    routes = RoutesConfigDump(
        dynamic_route_configs=[
            RoutesConfigDump.DynamicRouteConfig(version_info=r.version, route_config=_any(r))
            for r in resources.get(ROUTE, ())
        ]
    )
    endpoints = EndpointsConfigDump(
        dynamic_endpoint_configs=[
            EndpointsConfigDump.DynamicEndpointConfig(version_info=r.version, endpoint_config=_any(r))
            for r in resources.get(ENDPOINT, ())
        ]
    )
    return ConfigDump(configs=_wrap((clusters, listeners, routes, endpoints)))


def _any(resource: Resource) -> any_pb2.Any:
    return any_pb2.Any(type_url=resource.type_url, value=resource.body)


def _wrap(messages: Iterable[Message]) -> list[any_pb2.Any]:
    return [
        any_pb2.Any(
            type_url=f"type.googleapis.com/{message.DESCRIPTOR.full_name}", value=message.SerializeToString()
        )
        for message in messages
    ]
