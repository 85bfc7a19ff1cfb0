"""The packet rules of faults, in a cluster's network namespace, each marked with its fault's name.

They are put before whatever else is there, and found again by their mark, so taking them away needs no memory
of them and may be repeated. Packets are dropped in `mangle`, of which the lab's node makes no use.
"""

import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Address

from isthmus.lab.faults.kinds import Fault
from isthmus.lab.network import inside
from isthmus.lab.plan import API_PORT, ClusterPlan
from isthmus.lib.errors import UserError

HOP_MARK = 0x15F
"""The mark of packets that the hop itself sends to the real server."""
_COMMENT = "isthmus-fault"
_TABLES = ("mangle", "nat")
_SERVICE_PORT = 443


def dropping_rules(plan: ClusterPlan, others: Sequence[ClusterPlan], fault: Fault) -> list[str]:
    """The rules, as arguments to `iptables`, of a fault that drops packets; `others` are the other clusters.

    Pure. API servers stay reachable in a partition: they are on the node's network, not the pods'.
    """
    if fault is Fault.PARTITION:
        own = plan.pod_cidr
        return [
            rule
            for other in others
            for rule in (
                f"-t mangle -I FORWARD -s {own} -d {other.pod_cidr} -j DROP",
                f"-t mangle -I FORWARD -s {other.pod_cidr} -d {own} -j DROP",
            )
        ]
    return [f"-t mangle -I INPUT -i eth0 -p tcp -d {plan.node_address} --dport {API_PORT} -j DROP"]


def leading_rules(plan: ClusterPlan, hop: tuple[IPv4Address, int]) -> list[str]:
    """The rules that lead everybody but the hop to the hop, where they ask for the API server. Pure."""
    address, port = hop
    target = f"-m mark ! --mark {HOP_MARK} -j DNAT --to-destination {address}:{port}"
    asked = (
        f"-d {plan.node_address} --dport {API_PORT}",
        f"-d {plan.service_cidr[1]} --dport {_SERVICE_PORT}",
    )
    return [
        f"-t nat -I {chain} -p tcp {where} {target}" for chain in ("PREROUTING", "OUTPUT") for where in asked
    ]


def put_rules(plan: ClusterPlan, fault: Fault, rules: Sequence[str]) -> None:
    """Put rules in force. UserError where iptables refuses."""
    for rule in rules:
        _iptables(plan, [*rule.split(), "-m", "comment", "--comment", f"{_COMMENT}:{fault.value}"])


def take_rules_away(plan: ClusterPlan, fault: Fault) -> None:
    """Take away every rule of that fault; none is no error."""
    mark = f"{_COMMENT}:{fault.value}"
    for table in _TABLES:
        for line in _iptables(plan, ["-t", table, "-S"]).splitlines():
            words = line.replace('"', "").split()
            if mark in words:
                _iptables(plan, ["-t", table, "-D", *words[1:]])


def break_connections(plan: ClusterPlan) -> None:
    """Reset every connection to the cluster's API server, so that what leads elsewhere does so at once."""
    subprocess.run(
        inside(plan.netns, ["ss", "--kill", "--tcp", "sport", "=", f":{API_PORT}"]), capture_output=True
    )


def _iptables(plan: ClusterPlan, arguments: Sequence[str]) -> str:
    done = subprocess.run(inside(plan.netns, ["iptables", "-w", *arguments]), capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"`iptables {' '.join(arguments)}` failed in {plan.netns}: {done.stderr.strip()}")
    return done.stdout
