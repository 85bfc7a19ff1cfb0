"""The demonstration's own workloads: `echo`, which says who answered, and `client`, which has curl."""

from typing import Any

from isthmus.lab.controllers.objects import Object

DEMO = "demo"
ECHO_URL = "http://echo.demo/"


def make(api_version: str, kind: str, name: str, namespace: str = "", **rest: Any) -> Object:
    """An object with its head; `rest` are further top-level fields."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **rest.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def echo(cluster: str, *, replicas: int) -> list[Object]:
    """Namespace, Service and Deployment of `echo` in one cluster."""
    fields = {
        "NAMESPACE": "metadata.namespace",
        "POD": "metadata.name",
        "SERVICE_ACCOUNT": "spec.serviceAccountName",
    }
    env: list[Object] = [{"name": "CLUSTER", "value": cluster}]
    env += [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]
    container = {
        "name": "echo",
        "image": "isthmus/echo",
        "command": ["python", "-m", "isthmus.lab.echo"],
        "env": env,
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return [
        make("v1", "Namespace", DEMO),
        make("v1", "Service", "echo", DEMO, spec={"selector": {"app": "echo"}, "ports": ports}),
        _deployment("echo", container, replicas=replicas),
    ]


def client() -> list[Object]:
    """Namespace and Deployment of `client`."""
    container = {"name": "client", "image": "isthmus/client", "command": ["sleep", "infinity"]}
    return [make("v1", "Namespace", DEMO), _deployment("client", container, replicas=1)]


def _deployment(name: str, container: Object, *, replicas: int) -> Object:
    labels = {"app": name}
    pod = {"terminationGracePeriodSeconds": 10, "containers": [container]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return make("apps/v1", "Deployment", name, DEMO, spec=spec)
