"""A container's user, groups and capabilities, from the security contexts of it and its pod. Pure."""

from dataclasses import dataclass

from isthmus.lab.node.podspec import Container, Pod

_NAMES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT
SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP
MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
CAPABILITIES = {name: number for number, name in enumerate(_NAMES.split())}
"""Their numbers (linux/capability.h)."""
_USUAL = """
AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID
SYS_CHROOT
"""
_DEFAULT = frozenset(_USUAL.split())
"""What containerd gives, without MKNOD: nothing else would keep a container from the machine's disks."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Whom a container runs as; `capabilities` are the numbers of those that it may have at most."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: tuple[int, ...]
    no_new_privileges: bool
    read_only_root: bool


def derive_rights(pod: Pod, container: Container) -> Rights:
    """The container's own settings go before the pod's. ValueError names one that cannot be had."""
    whole, own = pod.spec.security_context, container.security_context
    uid = own.run_as_user if own.run_as_user is not None else whole.run_as_user
    gid = own.run_as_group if own.run_as_group is not None else whole.run_as_group
    if (own.run_as_non_root or whole.run_as_non_root) and not uid:
        raise ValueError("container has runAsNonRoot and image will run as root")
    groups = [*whole.supplemental_groups, *([] if whole.fs_group is None else [whole.fs_group])]
    added = {_plain(name) for name in own.capabilities.add}
    dropped = {_plain(name) for name in own.capabilities.drop}
    if unknown := sorted((added | dropped) - CAPABILITIES.keys() - {"ALL"}):
        raise ValueError(f"unknown capability {unknown[0]!r}")
    base = frozenset[str]() if "ALL" in dropped else _DEFAULT - dropped
    kept = frozenset(CAPABILITIES) - dropped if "ALL" in added else base | added
    return Rights(
        uid=uid or 0,
        gid=gid or 0,
        groups=tuple(groups),
        capabilities=tuple(sorted(CAPABILITIES[name] for name in kept)),
        no_new_privileges=not own.allow_privilege_escalation,
        read_only_root=own.read_only_root_filesystem,
    )


def _plain(name: str) -> str:
    return name.upper().removeprefix("CAP_")
