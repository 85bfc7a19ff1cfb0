"""What one injection run is told: options of the command and the mesh's defaults for its proxies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

from isthmus.config.proxy import parse_proxy_config
from isthmus.lib.errors import UserError
from isthmus.lib.yaml_text import NotYaml, read_yaml

IMAGE = "isthmus/proxyv2"
RESOURCES: Mapping[str, Mapping[str, str]] = {
    "requests": {"cpu": "100m", "memory": "128Mi"},
    "limits": {"cpu": "2", "memory": "1Gi"},
}


class NativeSidecars(Enum):
    """Which sidecars are init containers that run on (Kubernetes 1.29: sidecar containers)."""

    AUTO = "auto"
    """Those of pods that end, since these would not end beside any other."""
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class InjectionSettings:
    """The same for every workload of a run. `proxy_config` is Istio's ProxyConfig as written, camel case.

    `network` and `cluster_id` "" leave the pod's network and cluster to the control plane, `ca_address` "" is
    where it is. `redirection` has texts by field of
    `config.redirection.Redirection`; a pod's annotations count before them.
    """

    image: str = IMAGE
    cluster_id: str = ""
    network: str = ""
    proxy_config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    native_sidecars: NativeSidecars = NativeSidecars.AUTO
    resources: Mapping[str, Any] = field(default_factory=lambda: RESOURCES)
    log_level: str = ""
    image_pull_policy: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    rewrite_probes: bool = True
    redirection: Mapping[str, str] = field(default_factory=dict[str, str])
    ca_address: str = ""


def default_proxy_config(mesh_config: str, source: str) -> dict[str, Any]:
    """The field `defaultConfig` of a mesh config in YAML; UserError names `source` and the field."""
    try:
        mesh = read_yaml(mesh_config)
    except NotYaml as error:
        raise UserError(f"{source} is no YAML ({error}); correct it there.") from error
    if mesh is None:
        return {}
    if not isinstance(mesh, dict):
        raise UserError(f"{source} is no mesh config: it must be a mapping of fields such as defaultConfig.")
    refuse_object(cast("dict[str, Any]", mesh), source, "mesh")
    return as_proxy_config(cast("dict[str, Any]", mesh).get("defaultConfig"), f"{source}: defaultConfig")


def refuse_object(found: Mapping[str, Any], source: str, key: str) -> None:
    """UserError where a text is a Kubernetes object, as it is when a ConfigMap was saved as a whole."""
    if "apiVersion" in found and "kind" in found:
        raise UserError(
            f"{source} is an object of kind {found['kind']}; write into the file what its ConfigMap holds "
            f"under `{key}`: kubectl get configmap NAME -o jsonpath='{{.data.{key}}}'."
        )


def as_proxy_config(raw: object, source: str) -> dict[str, Any]:
    """`raw` if it is a valid ProxyConfig (None is an empty one); UserError names `source` and the field."""
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise UserError(f"{source} must be a mapping of fields such as discoveryAddress.")
    config = cast("dict[str, Any]", raw)
    parse_proxy_config(config, source)
    return config


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`, field by field; `proxyMetadata` is united, as Istio does."""
    merged = {**below, **above}
    metadata = {**below.get("proxyMetadata", {}), **above.get("proxyMetadata", {})}
    return {**merged, "proxyMetadata": metadata} if metadata else merged
