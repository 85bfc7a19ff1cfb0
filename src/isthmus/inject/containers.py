"""The containers and volumes of the sidecar, as Kubernetes reads them. Pure; it knows no workload.

Users, capabilities, resources, probe and names are those of Istio's injection template.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from isthmus.config.redirection import Redirection
from isthmus.inject.settings import RESOURCES

INIT = "istio-init"
PROXY = "istio-proxy"
PROXY_USER = 1337
_FIELDS = {
    "POD_NAME": "metadata.name",
    "POD_NAMESPACE": "metadata.namespace",
    "INSTANCE_IP": "status.podIP",
    "SERVICE_ACCOUNT": "spec.serviceAccountName",
    "HOST_IP": "status.hostIP",
    "ISTIO_META_NODE_NAME": "spec.nodeName",
}
"""Variable → field of the pod, filled in when the container starts."""
_READINESS = {"periodSeconds": 2, "timeoutSeconds": 3, "failureThreshold": 4}
_READY = {"path": "/healthz/ready", "port": 15021}
_STARTUP = {"periodSeconds": 1, "timeoutSeconds": 3, "failureThreshold": 600}


def init_container(
    image: str, redirection: Redirection, resources: Mapping[str, Any] = RESOURCES
) -> dict[str, Any]:
    """istio-init: root, for as long as writing the rules takes, with the two capabilities that needs."""
    return {
        "name": INIT,
        "image": image,
        "command": ["isthmus", "init"],
        "args": redirection.arguments(),
        "resources": resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": False,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "runAsUser": 0,
        },
    }


def proxy_container(
    image: str,
    *,
    proxy_config: Mapping[str, Any],
    metadata: Mapping[str, str],
    environment: Mapping[str, str] | None = None,
    resources: Mapping[str, Any] = RESOURCES,
    mounts: Sequence[Mapping[str, Any]] = (),
    readiness: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """istio-proxy: agent and Envoy. `metadata` is node metadata, which becomes `ISTIO_META_…` variables.

    `readiness` has fields of its probe that differ from the defaults; `mounts` come after its own.
    """
    return {
        "name": PROXY,
        "image": image,
        "command": ["isthmus", "agent"],
        "ports": [{"name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP"}],
        "env": _environment(proxy_config, metadata, environment or {}),
        "readinessProbe": {"httpGet": _READY, **_READINESS, **(readiness or {})},
        "resources": resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsGroup": PROXY_USER,
            "runAsNonRoot": True,
            "runAsUser": PROXY_USER,
        },
        "volumeMounts": [
            {"name": "istio-envoy", "mountPath": "/etc/istio/proxy"},
            {"name": "istio-podinfo", "mountPath": "/etc/istio/pod"},
            {"name": "istio-token", "mountPath": "/var/run/secrets/tokens", "readOnly": True},
            {"name": "istiod-ca-cert", "mountPath": "/var/run/secrets/istio", "readOnly": True},
            *mounts,
        ],
    }


def as_native(proxy: Mapping[str, Any]) -> dict[str, Any]:
    """istio-proxy as an init container that runs on: what comes after it waits until it is ready."""
    return {**proxy, "restartPolicy": "Always", "startupProbe": {"httpGet": _READY, **_STARTUP}}


def holding(proxy: Mapping[str, Any]) -> dict[str, Any]:
    """istio-proxy with the hook that a kubelet awaits before it starts the containers after it."""
    return {**proxy, "lifecycle": {"postStart": {"exec": {"command": ["isthmus", "agent", "wait"]}}}}


def sidecar_volumes() -> list[dict[str, Any]]:
    """Where the bootstrap is written, the pod's labels for the agent to read, its token, the mesh's roots.

    The kubelet lets no container start before the ConfigMap is there, and tries again soon. For the
    content of an optional one it would look only with its next sync of the pod, a minute later.
    """
    token = {"audience": "istio-ca", "expirationSeconds": 43200, "path": "istio-token"}
    labels = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}
    return [
        {"name": "istio-envoy", "emptyDir": {"medium": "Memory"}},
        {"name": "istio-podinfo", "downwardAPI": {"items": [labels]}},
        {"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": "istiod-ca-cert", "configMap": {"name": "istio-ca-root-cert"}},
    ]


def names_of(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of containers or volumes, in order."""
    return [str(item["name"]) for item in items]


def _environment(
    proxy_config: Mapping[str, Any], metadata: Mapping[str, str], more: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Each name once. `proxyMetadata` may override what the injector says, not who the pod is."""
    values = {
        **{f"ISTIO_META_{name}": value for name, value in metadata.items() if value},
        "PROXY_CONFIG": msgspec.json.encode(proxy_config, order="sorted").decode(),
        **more,
        **proxy_config.get("proxyMetadata", {}),
    }
    return [
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in _FIELDS.items()),
        *({"name": name, "value": value} for name, value in values.items() if name not in _FIELDS),
    ]
