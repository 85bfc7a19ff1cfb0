"""Clusters that fail on purpose, a control plane that is killed, a proxy that watches, and a simple model.

Each cluster has a real API server (the lab's), which the control plane reaches over TLS through a hop that
lies on demand. The control plane is the process `isthmus pilot`, the proxy a real gRPC client. The model
knows only which addresses stand behind the one Service in each cluster: the test has put them there.
"""

import base64
import shutil
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from random import Random
from typing import Any

from isthmus.clusters.claims import GRACE
from isthmus.clusters.recorder import EVENT
from isthmus.kube.client import Client, running_client
from isthmus.kube.kinds import CONFIG_MAP
from isthmus.lab import pki
from isthmus.lab.apiserver.server import RunningServer, running_api_server
from isthmus.lab.faults.hop import Hop, running_hop
from isthmus.lab.faults.kinds import Fault
from isthmus.model.service import ClusterId
from tests.faults.follower import Follower
from tests.scenarios.mesh import (
    NAMESPACES,
    SECRETS,
    SERVICES,
    SLICES,
    Pilot,
    echo_slice,
    eventually,
    running_pilot,
)

HOME = ClusterId("west")
CONTROL = "istio-system"
DEADLINE = 90.0
"""Seconds within which everything must be well again after faults of a few seconds, on a busy machine."""
_HELD_BACK = (Fault.API_HANG, Fault.WATCH_STALL)
"""Faults whose end lets what was held back go on, instead of breaking it off."""


@dataclass
class Member:
    """One cluster: its server behind its hop, and what is true of it."""

    name: str
    number: int
    folder: Path
    truth: frozenset[str] = frozenset()
    possible: set[frozenset[str]] = field(default_factory=set[frozenset[str]])
    """What a proxy may hold of it now: what was true since it was last known to hold the truth."""
    kept: frozenset[str] | None = None
    """What its last-known state has been seen to hold."""
    history: set[frozenset[str]] = field(default_factory=set[frozenset[str]])
    """What was ever true of it."""
    fault: Fault | None = None
    registered: bool = True
    _running: AsyncExitStack = field(default_factory=AsyncExitStack)
    _hopping: AsyncExitStack = field(default_factory=AsyncExitStack)

    server: RunningServer = field(init=False)
    direct: Client = field(init=False)
    hop: Hop = field(init=False)

    async def start(self) -> None:
        """Its server, on any port, with what it knew when it was stopped."""
        self._running = AsyncExitStack()
        self.server = await self._running.enter_async_context(
            running_api_server(
                self.folder, name=self.name, service_cidr=IPv4Network(f"10.{100 + self.number}.0.0/16")
            )
        )
        self.direct = await self._running.enter_async_context(running_client(self.server.access()))

    async def stop(self) -> None:
        await self._running.aclose()

    async def open(self, port: int = 0) -> None:
        """Its hop."""
        self._hopping = AsyncExitStack()
        self.hop = await self._hopping.enter_async_context(
            running_hop(self.server.url, self.server.files, port=port)
        )

    async def close(self) -> None:
        """Refuse connections from now on."""
        await self._hopping.aclose()

    async def suffer(self, fault: Fault) -> None:
        self.fault = fault
        if fault is Fault.API_STOP:
            await self.close()
            return
        self.hop.suffer(fault)
        if fault not in _HELD_BACK:
            self.hop.sever()

    async def heal(self) -> None:
        if self.fault is Fault.API_STOP:
            await self.open(self.hop.address[1])
        elif self.fault is not None:
            self.hop.heal()
            if self.fault not in _HELD_BACK:
                self.hop.sever()
        self.fault = None

    async def fill(self, addresses: Sequence[str]) -> None:
        """The Service and its endpoints, for the first time."""
        await self.direct.create(NAMESPACES, {"metadata": {"name": "demo"}})
        ports = [{"name": "http", "port": 80, "targetPort": 8080}]
        service = {"metadata": {"name": "echo"}, "spec": {"ports": ports}}
        await self.direct.create(SERVICES, service, "demo")
        await self.direct.create(SLICES, echo_slice("echo-1", *addresses), "demo")
        self.truth = frozenset(addresses)
        self.possible = {frozenset(), self.truth}
        self.history.add(self.truth)

    async def change(self, random: Random) -> None:
        """Other addresses behind the Service; the truth is never empty, nor what it was."""
        hosts = random.sample(range(1, 250), random.randint(1, 4))
        self.truth = frozenset(f"10.{self.number}.0.{host}" for host in hosts)
        self.possible.add(self.truth)
        self.history.add(self.truth)
        body = echo_slice("echo-1", *sorted(self.truth))
        await self.direct.patch(SLICES, "echo-1", {"endpoints": body["endpoints"]}, "demo")

    def kubeconfig(self) -> bytes:
        """Good for the control plane: a new client certificate each time."""
        return pki.kubeconfig(self.server.files, pki.ADMIN, cluster=self.name, server=self.hop.url)

    async def keep_backup(self) -> Path:
        """What etcd's snapshot is to a real cluster: the data as of now."""
        backup = self.folder / "backup"
        shutil.copytree(self.folder / "data", backup, dirs_exist_ok=True)
        return backup

    async def restore(self, backup: Path) -> None:
        """The API server comes back with older data and older versions, at the same place."""
        await self.stop()
        shutil.rmtree(self.folder / "data")
        shutil.copytree(backup, self.folder / "data")
        await self.start()
        self.hop.upstream = self.server.url
        self.hop.sever()


@dataclass
class Stage:
    """Everything, and the model's question: does the proxy hold the truth?"""

    home: Member
    remotes: dict[str, Member]
    folder: Path
    follower: Follower
    pilot: Pilot
    wrong: list[str] = field(default_factory=list[str])
    """What the proxy was told that never was so."""
    _pilots: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def members(self) -> list[Member]:
        return [self.home, *self.remotes.values()]

    @property
    def truth(self) -> frozenset[str]:
        """What a proxy is to hold: the union over all clusters that are registered."""
        return frozenset[str]().union(*(each.truth for each in self.members if each.registered))

    def witness(self, held: frozenset[str]) -> None:
        """Note what the proxy was just told, if it never was so of one of the clusters."""
        for each in self.members:
            part = frozenset(one for one in held if one.startswith(f"10.{each.number}."))
            if part not in each.possible:
                self.wrong.append(f"{each.name}: {sorted(part)} is none of {each.possible}")

    async def converge(self, *members: Member, within: float = DEADLINE) -> None:
        """Wait until the proxy holds the truth of these clusters (default: all); it may not lose it."""
        chosen = members or tuple(self.members)

        def right(held: frozenset[str]) -> bool:
            return all(
                frozenset(one for one in held if one.startswith(f"10.{each.number}."))
                == (each.truth if each.registered else frozenset())
                for each in chosen
            )

        await self.follower.until(right, within)
        for each in chosen:
            each.possible = {each.truth if each.registered else frozenset()}

    def check(self) -> None:
        """Nothing that the proxy was ever told was untrue."""
        assert not self.wrong, self.wrong

    # The control plane

    async def start_pilot(self, **options: Any) -> None:
        self.pilot = await self._pilots.enter_async_context(
            running_pilot(self.home.server, self.folder, **options)
        )
        port = await self.pilot.xds_port()
        if any(line["event"] == "ready without clusters that do not answer" for line in self.pilot.log):
            # A busy machine: some were not read within their seconds, and are served as they are remembered.
            for each in self.remotes.values():
                each.possible |= each.history if each.kept is not None else {frozenset(), *each.history}
        self.follower.lead_to(port)

    async def kill_pilot(self) -> None:
        """SIGKILL: no goodbye, nothing is written. A cluster that is too slow for the next one's start is
        served as it is remembered, which may be without what changed just before.
        """
        for each in self.members:
            if each.fault is not None and each.kept is not None:
                each.possible.add(each.kept)
        self.pilot.process.kill()
        await self._pilots.aclose()

    async def rotated(self, times: int) -> None:
        """Wait until the control plane has said so often that a new credential is in force."""
        said = "cluster credential rotated"
        await eventually(lambda: sum(line["event"] == said for line in self.pilot.log) >= times)

    async def kept(self, name: str) -> None:
        """Wait until the last-known state of a cluster is kept."""

        async def look() -> bool:
            found = await self.home.direct.list(CONFIG_MAP, CONTROL)
            return any(each.metadata.annotations.get("isthmus.dev/cluster") == name for each in found.items)

        await eventually(look)
        member = self.remotes[name]
        member.kept = member.truth

    async def complained(self, name: str, reason: str) -> None:
        """Wait until an Event on a cluster's Secret gives this reason."""

        async def look() -> bool:
            found = await self.home.direct.list(EVENT, CONTROL)
            return any(
                each["involvedObject"]["name"] == name
                and each["type"] == "Warning"
                and reason in each["message"]
                for each in found.items
            )

        await eventually(look)

    async def end(self) -> None:
        await self._pilots.aclose()
        for each in self.members:
            await each.heal()
            await each.close()
            await each.stop()

    # The Secrets

    async def put_secret(self, name: str, **kubeconfigs: bytes) -> None:
        """Make a cluster Secret, or replace what it holds."""
        data = {key: base64.b64encode(value).decode() for key, value in kubeconfigs.items()}
        body = {"metadata": {"name": name, "labels": {"istio/multiCluster": "true"}}, "data": data}
        path = SECRETS.path(CONTROL, name)
        await self.home.direct.request(
            "PATCH",
            path,
            params={"fieldManager": "operator", "force": "true"},
            body={"apiVersion": "v1", "kind": "Secret", **body},
            content_type="application/apply-patch+yaml",
        )

    async def register(self, member: Member) -> None:
        member.registered = True
        member.possible |= {frozenset(), member.truth}
        await self.put_secret(member.name, **{member.name: member.kubeconfig()})

    async def make_anew(self, member: Member) -> None:
        """Delete the Secret and put another in its place, which takes no endpoint away."""
        began = time.monotonic()
        await self.home.direct.delete(SECRETS, member.name, CONTROL)
        await self.put_secret(member.name, **{member.name: member.kubeconfig()})
        if time.monotonic() - began > GRACE / 2:  # a busy machine
            member.possible.add(frozenset())

    async def unregister(self, member: Member) -> None:
        member.registered = False
        member.possible.add(frozenset())
        await self.home.direct.delete(SECRETS, member.name, CONTROL)


@asynccontextmanager
async def running_stage(
    folder: Path, *names: str, pilot: dict[str, Any] | None = None
) -> AsyncGenerator[Stage]:
    """Home and remotes of these names, joined and converged."""
    members = [Member(name, number, folder / name) for number, name in enumerate((HOME, *names), 1)]
    follower = Follower()
    stage = Stage(members[0], {each.name: each for each in members[1:]}, folder, follower, None)  # type: ignore[arg-type]
    try:
        for each in members:
            await each.start()
            await each.open()
            await each.fill([f"10.{each.number}.0.1", f"10.{each.number}.0.2"])
        await stage.home.direct.create(NAMESPACES, {"metadata": {"name": CONTROL}})
        for each in members[1:]:
            await stage.register(each)
        follower.told = stage.witness
        async with follower.following():
            await stage.start_pilot(**(pilot or {}))
            await stage.converge()
            yield stage
            stage.check()
    finally:
        await stage.end()
