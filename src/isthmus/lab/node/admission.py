"""What the node refuses to run, and why. Pure."""

from isthmus.lab.node.podspec import Pod, Volume


def refusal(pod: Pod) -> str | None:
    """Why this node will never run a pod, naming the field; None where it will.

    A refused pod becomes Failed, as where a kubelet does not admit one.
    """
    spec = pod.spec
    if spec.host_network:
        return "spec.hostNetwork: pods of the lab have network namespaces of their own; leave it out"
    if spec.host_pid:
        return "spec.hostPID: pods of the lab do not see the machine's processes; leave it out"
    for volume in spec.volumes:
        if reason := _volume_refusal(volume):
            return f"spec.volumes[{volume.name}]: {reason}"
    for container in (*spec.init_containers, *spec.containers):
        if container.security_context.privileged:
            field = f"spec.containers[{container.name}].securityContext.privileged"
            return f"{field}: containers of the lab do not control the machine; add capabilities instead"
    return None


def _volume_refusal(volume: Volume) -> str | None:
    if volume.host_path is not None:
        return "hostPath is refused, for pods of the lab do not see the machine's files; use emptyDir"
    known = (volume.empty_dir, volume.config_map, volume.secret, volume.projected, volume.downward_api)
    if all(source is None for source in known):
        return "of a kind that the lab lacks; it has emptyDir, configMap, secret, projected and downwardAPI"
    return None
