"""`isthmus lab exec` and `logs`: the commands that lead into a container, and to what it printed."""

from collections.abc import Sequence

from isthmus.lab.node.enter import Entrance, entrance
from isthmus.lab.reference import PodReference, find_cluster
from isthmus.lib.binaries import find_kubectl


def enter_pod(pod: PodReference, container: str, command: Sequence[str]) -> Entrance:
    """How to run a command in a container of a pod ("": its first); UserError where there is none."""
    plan = find_cluster(pod.cluster)
    return entrance(plan.directory, pod.namespace, pod.pod, container or None, list(command))


def logs_command(pod: PodReference, container: str, *, follow: bool) -> list[str]:
    """The kubectl command line that prints what a container of a pod has printed."""
    kubeconfig = find_cluster(pod.cluster).kubeconfig
    return [
        str(find_kubectl()),
        f"--kubeconfig={kubeconfig}",
        f"--namespace={pod.namespace}",
        "logs",
        pod.pod,
        *([f"--container={container}"] if container else []),
        *(["--follow"] if follow else []),
    ]
