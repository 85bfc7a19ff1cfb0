"""The lab's networks: one namespace that routes (the hub), one per cluster, and one link to the host.

On the host there is one interface and one route, and no more: no packet filter rule, no sysctl. Addresses are
never translated between clusters, so a pod's address is its own everywhere. The path between two clusters is
node → hub → node; between a cluster and the host, node → hub → host. ClusterIPs are no part of it: as in any
cluster, they mean something only inside their own.

Making is idempotent. Unmaking needs no memory of what was made: it finds namespaces by name, and processes by
the namespaces and mounts that they live in, so it works after any crash; it never touches a process outside
of them.
"""

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network
from pathlib import Path

from isthmus.lab.leftovers import (
    end_processes,
    lives_in,
    mount_points_below,
    namespace_of,
    unmount_below,
)
from isthmus.lab.plan import HOST_INTERFACE, HUB_NETNS, STATE, SUPERNET, ClusterPlan, host_interfaces
from isthmus.lib.errors import UserError

NETNS_FOLDER = Path("/run/netns")
_PREFIX = "isthmus-"
_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_MADE_NETNS_FOLDER = STATE / "made-netns-folder"


def inside(netns: str, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` in a network namespace and changes nothing else.

    Not `ip netns exec`: that gives the command a mount namespace of its own, in which a node agent could not
    make pods' namespaces that anybody else sees.
    """
    return ["nsenter", f"--net={NETNS_FOLDER / netns}", "--", *command]


def clusters_up() -> list[str]:
    """The names of clusters whose network exists now, sorted; empty when no lab is up."""
    pod = re.compile(rf".*-pod-{_UUID}")
    return [
        name.removeprefix(_PREFIX) for name in _namespaces() if name != HUB_NETNS and not pod.fullmatch(name)
    ]


def make_hub() -> None:
    """Make the hub, and the host's link and route to it. Does nothing where they are complete.

    UserError where the host already routes a part of the lab's range to somebody else.
    """
    routes = _ip_json("-4", "route", "show")
    if HUB_NETNS in _namespaces() and (str(SUPERNET), HOST_INTERFACE) in (
        (route["dst"], route.get("dev")) for route in routes
    ):
        return
    refuse_foreign_routes(routes)
    _remove_host_link()
    empty_namespaces([name for name in _namespaces() if name == HUB_NETNS])
    STATE.mkdir(parents=True, exist_ok=True, mode=0o755)
    if not mount_points_below(NETNS_FOLDER):
        _MADE_NETNS_FOLDER.touch()
    host, hub = host_interfaces()
    _ip(
        f"netns add {HUB_NETNS}",
        f"link add {HOST_INTERFACE} type veth peer name host netns {HUB_NETNS}",
        f"address add {host} dev {HOST_INTERFACE}",
        f"link set {HOST_INTERFACE} up",
    )
    _ip("link set lo up", f"address add {hub} dev host", "link set host up", netns=HUB_NETNS)
    _forward_packets(HUB_NETNS)
    _ip(f"route add {SUPERNET} via {hub.ip} dev {HOST_INTERFACE}")


def make_cluster(plan: ClusterPlan) -> None:
    """Make one cluster's network: its namespace, its addresses, its link to the hub. `make_hub` comes first.

    Does nothing where it is complete; what is incomplete is removed, its processes too, and made again.
    UserError where another lab's cluster has its place.
    """
    if plan.netns == HUB_NETNS:
        raise UserError(f"A cluster cannot be named {plan.name!r}: the lab's own hub has that name.")
    link = _hub_link(plan)
    tenant = {entry["ifname"]: entry.get("ifalias", "") for entry in _ip_json("link", netns=HUB_NETNS)}.get(
        link
    )
    if tenant and tenant != plan.name:
        raise UserError(
            f"Cluster {tenant!r} has the place of {plan.name!r}: another lab is up, and a machine holds one."
            " Take it down with `isthmus lab down` first."
        )
    if tenant and plan.netns in _namespaces():
        return
    _remove_cluster(plan)
    _ip(
        f"netns add {plan.netns}",
        f"link add eth0 netns {plan.netns} type veth peer name {link} netns {HUB_NETNS}",
    )
    _ip(
        "link set lo up",
        f"address add {plan.pod_cidr[1]}/32 dev lo",
        f"address add {plan.dns_address}/32 dev lo",
        f"address add {plan.node_interface} dev eth0",
        "link set eth0 up",
        f"route add default via {plan.hub_interface.ip}",
        f"route add unreachable {plan.pod_cidr}",
        netns=plan.netns,
    )
    _forward_packets(plan.netns)
    _ip(
        f"address add {plan.hub_interface} dev {link}",
        f"link set {link} up",
        f"route add {plan.pod_cidr} via {plan.node_address}",
        f"link set {link} alias {plan.name}",  # the last step: says that the cluster is complete
        netns=HUB_NETNS,
    )


def pod_netns(plan: ClusterPlan, uid: str) -> str:
    """The name of a pod's network namespace."""
    return f"{plan.netns}-pod-{uid}"


def pod_namespaces(plan: ClusterPlan) -> list[str]:
    """The network namespaces of this cluster's pods that exist now."""
    pattern = re.compile(re.escape(plan.netns) + "-pod-" + _UUID)
    return [name for name in _namespaces() if pattern.fullmatch(name)]


def unmake_cluster(plan: ClusterPlan) -> None:
    """End every process of a cluster and remove its namespaces, links and folder, whatever there is."""
    _remove_cluster(plan)
    _remove_folder(plan.directory)


def unmake_all() -> None:
    """End every process of the lab and remove all that it made, on the host too, whatever there is."""
    remove_netns_folder = _MADE_NETNS_FOLDER.exists()
    _remove_host_link()
    empty_namespaces(_namespaces())
    _remove_folder(STATE)
    if remove_netns_folder and not any(NETNS_FOLDER.iterdir()):
        unmount_below(NETNS_FOLDER)
        NETNS_FOLDER.rmdir()


def refuse_foreign_routes(routes: Iterable[dict[str, str]]) -> None:
    """UserError where one of the host's routes lies in the lab's range and is not the lab's.

    `routes` are as `ip -json route` prints them. A wider route (a default, 10.0.0.0/8) is no obstacle: while
    the lab is up, its own is the more specific one.
    """
    for route in routes:
        if route["dst"] == "default" or route.get("dev") == HOST_INTERFACE:
            continue
        if IPv4Network(route["dst"]).subnet_of(SUPERNET):
            raise UserError(
                f"This machine already routes {route['dst']} (dev {route.get('dev', '?')}), which lies in"
                f" the lab's range {SUPERNET}; remove it to use the lab: `ip route del {route['dst']}`."
            )


def mount_mark(netns: str) -> str:
    """How root filesystems of containers are named, by the namespace of their node.

    With its inode, so that it means this very lab and none in another container of the same machine.
    """
    found = namespace_of(NETNS_FOLDER / netns)
    return f"{netns}-{found[1] if found else 0}"


def empty_namespaces(names: Sequence[str]) -> None:
    """End all processes of named network namespaces and of their containers; delete the namespaces."""
    inodes = {inode for inode in (namespace_of(NETNS_FOLDER / name) for name in names) if inode}
    if namespace_of(Path("/proc/self/ns/net")) in inodes:
        raise UserError("This shell runs inside the lab that it would take down; do it from outside.")
    marks = {mount_mark(name) for name in names}
    end_processes(lambda pid: lives_in(pid, inodes, marks))
    _ip(*(f"netns del {name}" for name in names))


def remove_links(prefix: str) -> None:
    """Delete the links in this process's network namespace whose names begin so."""
    names = [name for _, name in socket.if_nameindex() if name.startswith(prefix)]
    _ip(*(f"link del {name}" for name in names))


def _hub_link(plan: ClusterPlan) -> str:
    return f"cluster{plan.index}"


def _remove_host_link() -> None:
    """Before its namespace, always: a namespace takes its links along some time after it was deleted."""
    if HOST_INTERFACE in (name for _, name in socket.if_nameindex()):
        _ip(f"link del {HOST_INTERFACE}")


def _remove_cluster(plan: ClusterPlan) -> None:
    if HUB_NETNS in _namespaces():
        links = _ip_json("link", netns=HUB_NETNS)
        own = [e["ifname"] for e in links if e.get("ifalias") == plan.name or e["ifname"] == _hub_link(plan)]
        _ip(*(f"link del {name}" for name in own), netns=HUB_NETNS)
    names = [name for name in _namespaces() if name == plan.netns]
    empty_namespaces([*names, *pod_namespaces(plan)])


def _remove_folder(directory: Path) -> None:
    if directory.exists():
        unmount_below(directory)
        shutil.rmtree(directory)


def _namespaces() -> list[str]:
    try:
        return sorted(entry.name for entry in NETNS_FOLDER.iterdir() if entry.name.startswith(_PREFIX))
    except FileNotFoundError:
        return []


def _forward_packets(netns: str) -> None:
    _run(inside(netns, ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]))


def _ip(*lines: str, netns: str = "") -> None:
    if lines:
        _run(["ip", *(["-n", netns] if netns else []), "-batch", "-"], "\n".join(lines) + "\n")


def _ip_json(*arguments: str, netns: str = "") -> list[dict[str, str]]:
    output = _run(["ip", *(["-n", netns] if netns else []), "-json", *arguments])
    return json.loads(output) if output.strip() else []


def _run(command: Sequence[str], text: str = "") -> str:
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not installed; install iproute2 and util-linux.") from None
    if done.returncode:
        reason = done.stderr.strip() or f"exit code {done.returncode}"
        hint = "" if os.geteuid() == 0 else " The lab needs root."
        raise UserError(f"`{' '.join(command)}` failed: {reason}.{hint}")
    return done.stdout
