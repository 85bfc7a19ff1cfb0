"""From a container of a Pod to what its launcher needs: command, variables, rights, files, mounts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from isthmus.kube.objects import Service
from isthmus.lab.images import SEARCH_PATH, Bind, RootFilesystem
from isthmus.lab.network import mount_mark
from isthmus.lab.node.configs import ConfigName, Configs
from isthmus.lab.node.environment import Lookup, Placement, expand, resolve_env, service_variables
from isthmus.lab.node.events import Events
from isthmus.lab.node.logs import LogFile
from isthmus.lab.node.podspec import Container, Pod, VolumeMount
from isthmus.lab.node.pulse import Pulse
from isthmus.lab.node.rights import derive_rights
from isthmus.lab.node.runtime import LaunchSpec
from isthmus.lab.node.sandbox import Sandbox
from isthmus.lab.node.volumes import PodVolumes
from isthmus.lab.plan import ClusterPlan


@dataclass(slots=True)
class PodPlace:
    """What a pod's containers share; owned by the pod's task. `folder` describes those that run."""

    plan: ClusterPlan
    pod: Pod
    placement: Placement
    sandbox: Sandbox
    volumes: PodVolumes
    configs: Configs
    services: Callable[[], Sequence[Service]]
    events: Events
    folder: Path
    log_folder: Path
    changed: Callable[[], None]
    configs_changed: Pulse

    def open_log(self, container: str, restarts: int) -> LogFile:
        """The log of one run of a container."""
        return LogFile(self.log_folder / container / f"{restarts}.log")


def cover(binds: Sequence[Bind], mounts: Sequence[Bind]) -> tuple[Bind, ...]:
    """A root filesystem's binds, the volumes over them, and over these once more what must last."""
    covered = (
        bind
        for bind in binds
        if bind.lasting and any(Path(bind.target).is_relative_to(mount.target) for mount in mounts)
    )
    return (*binds, *sorted(mounts, key=lambda mount: mount.target), *covered)


def launch_spec(place: PodPlace, container: Container, rootfs: RootFilesystem) -> LaunchSpec:
    """Raises ConfigMissingError while something is missing, ValueError or KeyError for what cannot be had."""
    pod, rights = place.pod, derive_rights(place.pod, container)
    env = {"TERM": "xterm"} if container.tty else dict[str, str]()
    env |= {"PATH": SEARCH_PATH, "HOSTNAME": hostname(pod), "HOME": "/root" if rights.uid == 0 else "/"}
    services = service_variables(visible_services(place.services(), pod))
    env |= resolve_env(pod, container, place.placement, lookup_in(place.configs, pod), services)
    argv = [expand(word, env) for word in (*container.command, *container.args)]
    if not argv:
        raise ValueError("no command specified: images of the lab have none of their own")
    mounts = [_bind(place, mount, env) for mount in container.volume_mounts]
    return LaunchSpec(
        mark=mount_mark(place.plan.netns),
        rootfs_folder=str(root_folder(place.plan)),
        rootfs=replace(
            rootfs,
            files=(*rootfs.files, *_network_files(place.plan, pod, place.placement.pod_address)),
            binds=cover(rootfs.binds, mounts),
        ),
        read_only_root=rights.read_only_root,
        hostname=hostname(pod),
        argv=argv,
        env=env,
        cwd=container.working_dir or "/",
        uid=rights.uid,
        gid=rights.gid,
        groups=list(rights.groups),
        capabilities=list(rights.capabilities),
        no_new_privileges=rights.no_new_privileges,
        stdin=container.stdin,
        stdin_once=container.stdin_once,
        tty=container.tty,
    )


def root_folder(plan: ClusterPlan) -> Path:
    """Where each container mounts its root, in its own mount namespace; on the machine it stays empty."""
    return plan.directory / "run" / "root"


def lookup_in(configs: Configs, pod: Pod) -> Lookup:
    """ConfigMaps and Secrets of the pod's namespace."""
    return lambda kind, name: configs.get(ConfigName(kind, pod.metadata.namespace, name))


def visible_services(services: Sequence[Service], pod: Pod) -> list[Service]:
    """The Services that a pod's variables tell of: the API server, and unless it opts out those beside it."""
    return [
        service
        for service in services
        if (service.metadata.namespace == pod.metadata.namespace and pod.spec.enable_service_links)
        or (service.metadata.namespace, service.metadata.name) == ("default", "kubernetes")
    ]


def hostname(pod: Pod) -> str:
    """What the pod calls itself: at most 63 characters."""
    return (pod.spec.hostname or pod.metadata.name)[:63].rstrip("-.")


def _bind(place: PodPlace, mount: VolumeMount, env: dict[str, str]) -> Bind:
    source = place.volumes.path(mount.name)
    if mount.sub_path:
        sub_path = expand(mount.sub_path, env)
        if sub_path.startswith("/") or ".." in sub_path.split("/"):
            raise ValueError(f"volumeMounts[{mount.name}].subPath {sub_path!r} leads out of the volume")
        source = source / sub_path
        if not source.exists():
            source.mkdir(parents=True)
    kind = next(volume for volume in place.pod.spec.volumes if volume.name == mount.name)
    return Bind(str(source.resolve()), mount.mount_path, mount.read_only or kind.empty_dir is None)


def _network_files(plan: ClusterPlan, pod: Pod, address: str) -> tuple[tuple[str, str, int], ...]:
    namespace = pod.metadata.namespace
    name = hostname(pod)
    own = f"{name}.{pod.spec.subdomain}.{namespace}.svc.cluster.local\t{name}" if pod.spec.subdomain else name
    hosts = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback", f"{address}\t{own}"]
    hosts += ["\t".join((alias.ip, *alias.hostnames)) for alias in pod.spec.host_aliases]
    search = f"search {namespace}.svc.cluster.local svc.cluster.local cluster.local"
    return (
        ("/etc/hosts", "\n".join(hosts) + "\n", 0o644),
        ("/etc/hostname", name + "\n", 0o644),
        ("/etc/resolv.conf", f"{search}\nnameserver {plan.dns_address}\noptions ndots:5\n", 0o644),
    )
