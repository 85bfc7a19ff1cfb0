"""A pod's network namespace and its link to the node; the addresses that pods are given."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from isthmus.lab.network import NETNS_FOLDER, pod_netns
from isthmus.lab.plan import ClusterPlan

POD_LINK = "pod"
"""How the node's ends of its pods' links begin."""


class SandboxError(Exception):
    """A pod's network could not be made or removed; `str(error)` says why."""


@dataclass(slots=True)
class PodAddresses:
    """Hands out the addresses of a cluster's pods in turn, so that a released one rests for long."""

    plan: ClusterPlan
    _used: set[IPv4Address] = field(default_factory=set[IPv4Address])
    _last: int = 1

    def take(self) -> IPv4Address:
        """A free address; SandboxError where there is none."""
        size = self.plan.pod_cidr.num_addresses
        for step in range(1, size):
            number = (self._last + step) % size
            address = self.plan.pod_cidr[number]
            if 1 < number < size - 1 and address not in self._used:
                self._last = number
                self._used.add(address)
                return address
        raise SandboxError(f"all addresses of {self.plan.pod_cidr} are in use")

    def release(self, address: IPv4Address) -> None:
        """Give an address back."""
        self._used.discard(address)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Where a pod's containers run; they join the network namespace by its name."""

    netns: str
    address: IPv4Address


@asynccontextmanager
async def running_sandbox(plan: ClusterPlan, uid: str, addresses: PodAddresses) -> AsyncGenerator[Sandbox]:
    """Make a pod's network, and remove it at the end, when its containers are gone."""
    address = addresses.take()
    netns, link = pod_netns(plan, uid), f"{POD_LINK}{uid.replace('-', '')[:11]}"
    gateway = plan.pod_cidr[1]
    try:
        await _ip(
            f"netns add {netns}",
            f"link add {link} type veth peer name eth0 netns {netns}",
            f"link set {link} up",
            f"route add {address} dev {link} src {plan.node_address}",
        )
        await _ip(
            "link set lo up",
            f"address add {address}/32 dev eth0",
            "link set eth0 up",
            f"route add {gateway} dev eth0 scope link",
            f"route add default via {gateway} dev eth0",
            netns=netns,
        )
        yield Sandbox(netns, address)
    finally:
        await asyncio.shield(_remove(netns, link))
        addresses.release(address)


async def _remove(netns: str, link: str) -> None:
    if (NETNS_FOLDER / netns).exists():
        await _ip(f"link del {link}", f"netns del {netns}", keep_going=True)


async def _ip(*lines: str, netns: str = "", keep_going: bool = False) -> None:
    process = await asyncio.create_subprocess_exec(
        "ip",
        *(["-n", netns] if netns else []),
        *(["-force"] if keep_going else []),
        "-batch",
        "-",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate("".join(f"{line}\n" for line in lines).encode())
    if process.returncode and not keep_going:
        raise SandboxError(errors.decode(errors="replace").strip())
