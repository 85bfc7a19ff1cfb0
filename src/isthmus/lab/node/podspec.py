"""Pods as a kubelet reads them: every field that the node acts upon, and no other.

The shapes are those of Kubernetes' core/v1 reference, names in Python's spelling; unknown fields are ignored.
What the node refuses to run is decided in `admission`.
"""

from typing import Any

from msgspec import Struct, field

from isthmus.kube.kinds import Kind
from isthmus.kube.objects import Condition, ContainerPort, Metadata, Object


class PodMetadata(Metadata, frozen=True, gc=False, rename="camel"):
    """With the seconds that a deleted pod is given to end."""

    deletion_grace_period_seconds: int = 30


class KeyRef(Struct, frozen=True, rename="camel"):
    """A key of a ConfigMap or Secret."""

    name: str = ""
    key: str = ""
    optional: bool = False


class FieldRef(Struct, frozen=True, rename="camel"):
    """A field of the Pod itself."""

    field_path: str


class ResourceRef(Struct, frozen=True, rename="camel"):
    """A resource request or limit of a container; `divisor` is a quantity."""

    resource: str
    container_name: str = ""
    divisor: str | int = "1"


class EnvSource(Struct, frozen=True, rename="camel"):
    """Where a variable's value comes from; one of them is set."""

    field_ref: FieldRef | None = None
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None
    resource_field_ref: ResourceRef | None = None


class EnvVar(Struct, frozen=True, rename="camel"):
    """One environment variable."""

    name: str
    value: str = ""
    value_from: EnvSource | None = None


class NameRef(Struct, frozen=True, rename="camel"):
    """A ConfigMap or Secret as a whole."""

    name: str = ""
    optional: bool = False


class EnvFrom(Struct, frozen=True, rename="camel"):
    """All keys of a ConfigMap or Secret as variables."""

    prefix: str = ""
    config_map_ref: NameRef | None = None
    secret_ref: NameRef | None = None


class VolumeMount(Struct, frozen=True, rename="camel"):
    """Where a volume is seen in a container."""

    name: str
    mount_path: str
    read_only: bool = False
    sub_path: str = ""


class HttpHeader(Struct, frozen=True):
    """A header of a probe's request."""

    name: str
    value: str = ""


class HttpGet(Struct, frozen=True, rename="camel"):
    """A GET; success is 200 to 399. `host` "" is the pod's address."""

    port: int | str
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[HttpHeader, ...] = ()


class TcpSocket(Struct, frozen=True):
    """A connection; success is its being accepted."""

    port: int | str
    host: str = ""


class ExecAction(Struct, frozen=True):
    """A command in the container; success is exit code 0."""

    command: tuple[str, ...] = ()


class SleepAction(Struct, frozen=True):
    """A pause."""

    seconds: float = 0


class Handler(Struct, frozen=True, rename="camel"):
    """One action of a hook or probe."""

    exec: ExecAction | None = None
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    sleep: SleepAction | None = None
    grpc: dict[str, Any] | None = None


class Probe(Handler, frozen=True, rename="camel"):
    """A probe with Kubernetes' defaults; times in seconds."""

    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3


class Lifecycle(Struct, frozen=True, rename="camel"):
    """Hooks after a container's start and before its end."""

    post_start: Handler | None = None
    pre_stop: Handler | None = None


class Capabilities(Struct, frozen=True):
    """Capabilities beyond or below the usual, without the prefix CAP_."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SecurityContext(Struct, frozen=True, rename="camel"):
    """A container's or, without the latter fields, a pod's rights."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool = False
    fs_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    capabilities: Capabilities = Capabilities()
    privileged: bool = False
    allow_privilege_escalation: bool = True
    read_only_root_filesystem: bool = False


class Resources(Struct, frozen=True):
    """Quantities by resource name; the node enforces none, but tells them on request."""

    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


class Container(Struct, frozen=True, rename="camel"):
    """One container. `restart_policy` "Always" makes an init container a sidecar."""

    name: str
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    resources: Resources = Resources()
    security_context: SecurityContext = SecurityContext()
    lifecycle: Lifecycle = Lifecycle()
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    restart_policy: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False


class KeyToPath(Struct, frozen=True):
    """A key and the file that it becomes."""

    key: str
    path: str
    mode: int | None = None


class DownwardItem(Struct, frozen=True, rename="camel"):
    """A field of the Pod as a file."""

    path: str
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceRef | None = None
    mode: int | None = None


class TokenSource(Struct, frozen=True, rename="camel"):
    """A service account's token as a file, renewed while the pod lives."""

    path: str
    audience: str = ""
    expiration_seconds: int = 3600


class KeysSource(Struct, frozen=True, rename="camel"):
    """Keys of a ConfigMap (`name`) or Secret (`secretName`, or `name` where projected) as files."""

    name: str = ""
    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool = False
    default_mode: int = 0o644


class DownwardSource(Struct, frozen=True, rename="camel"):
    """Fields of the Pod as files."""

    items: tuple[DownwardItem, ...] = ()
    default_mode: int = 0o644


class Projection(Struct, frozen=True, rename="camel"):
    """One source of a projected volume; one field is set."""

    config_map: KeysSource | None = None
    secret: KeysSource | None = None
    downward_api: DownwardSource | None = field(default=None, name="downwardAPI")
    service_account_token: TokenSource | None = None


class ProjectedSource(Struct, frozen=True, rename="camel"):
    """Several sources in one folder."""

    sources: tuple[Projection, ...] = ()
    default_mode: int = 0o644


class Volume(Struct, frozen=True, rename="camel"):
    """One volume; one source is set, or one that the node does not know and refuses."""

    name: str
    empty_dir: dict[str, Any] | None = None
    host_path: dict[str, Any] | None = None
    config_map: KeysSource | None = None
    secret: KeysSource | None = None
    projected: ProjectedSource | None = None
    downward_api: DownwardSource | None = field(default=None, name="downwardAPI")


class HostAlias(Struct, frozen=True):
    """Lines for `/etc/hosts`."""

    ip: str
    hostnames: tuple[str, ...] = ()


class ReadinessGate(Struct, frozen=True, rename="camel"):
    """A condition that somebody else sets and that readiness waits for."""

    condition_type: str


class PodSpec(Struct, frozen=True, rename="camel"):
    """What a pod is to be."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    node_name: str = ""
    service_account_name: str = "default"
    host_network: bool = False
    host_pid: bool = field(default=False, name="hostPID")
    hostname: str = ""
    subdomain: str = ""
    host_aliases: tuple[HostAlias, ...] = ()
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    security_context: SecurityContext = SecurityContext()
    enable_service_links: bool = True
    readiness_gates: tuple[ReadinessGate, ...] = ()


class PodCondition(Condition, frozen=True, gc=False, rename="camel"):
    """With the time of its last change, RFC 3339."""

    last_transition_time: str = ""


class ContainerStatus(Struct, frozen=True, gc=False, rename="camel"):
    """What an earlier run of the node wrote of a container."""

    name: str = ""
    restart_count: int = 0
    container_id: str = field(default="", name="containerID")


class PodStatus(Struct, frozen=True, rename="camel"):
    """What the node reads of a status: others' conditions, and what an earlier run of the node wrote."""

    phase: str = ""
    start_time: str = ""
    conditions: tuple[PodCondition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(Object, frozen=True, gc=False, rename="camel"):
    """core/v1 Pod."""

    metadata: PodMetadata = PodMetadata()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ref(self) -> str:
        """NAMESPACE/NAME."""
        return f"{self.metadata.namespace}/{self.metadata.name}"


POD = Kind("", "v1", "pods", "Pod", True, Pod)


def is_sidecar(container: Container) -> bool:
    """Whether an init container stays beside the others (KEP-753)."""
    return container.restart_policy == "Always"
