"""The demonstration's own workloads: `echo`, which says who answered, and `client`, which has curl."""

from isthmus.lab.manifests import DEMO, Object, deployment, make, namespace

ECHO_URL = "http://echo.demo/"


def echo(cluster: str, *, replicas: int) -> list[Object]:
    """Namespace, Service and Deployment of `echo` in one cluster."""
    labels = {"app": "echo"}
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
        namespace(DEMO),
        make("v1", "Service", "echo", DEMO, spec={"selector": labels, "ports": ports}),
        deployment("echo", DEMO, labels, _pod(container), replicas=replicas),
    ]


def client() -> list[Object]:
    """Namespace and Deployment of `client`."""
    container = {"name": "client", "image": "isthmus/client", "command": ["sleep", "infinity"]}
    return [namespace(DEMO), deployment("client", DEMO, {"app": "client"}, _pod(container))]


def _pod(container: Object) -> Object:
    return {"terminationGracePeriodSeconds": 10, "containers": [container]}
