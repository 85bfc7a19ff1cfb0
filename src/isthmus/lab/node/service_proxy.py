"""Keeps the node's packet filter in step with Services and endpoints: kube-proxy's work for pods and the
node.

One task applies changes; while one `iptables-restore` runs, further changes gather and go into the next. A
write that fails is logged and made good by writing everything anew, after a pause.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import NoReturn

import structlog

from isthmus.lab.node.endpoints import ServiceName, Services
from isthmus.lab.node.service_rules import BASE, Target, changed_rules, targets_of
from isthmus.lib.backoff import Backoff

Apply = Callable[[str, bool], Awaitable[None]]
"""Hands rules to `iptables-restore`, in place of all others or, if False, beside them.

RulesRefusedError where they are refused."""
_log = structlog.get_logger()


class RulesRefusedError(Exception):
    """iptables-restore refused; `str(error)` is its own text."""


class ServiceProxy:
    """The rules of one node; made once, before any rule of another run is worth anything."""

    def __init__(self, services: Services, apply: Apply) -> None:
        self._services = services
        self._apply = apply
        self._changed: set[ServiceName] = set()
        self._wake = asyncio.Event()
        self._wanted: dict[ServiceName, tuple[Target, ...]] = {}
        self._settled = asyncio.Event()

    def changed(self, names: Iterable[ServiceName]) -> None:
        """These Services, or who stands behind them, are to be read anew."""
        self._changed.update(names)
        self._wake.set()

    async def settled(self) -> None:
        """Return when the rules were as they should be, for the first time."""
        await self._settled.wait()

    async def serve(self) -> NoReturn:
        """Apply changes for ever."""
        applied: dict[str, Target] | None = None
        backoff = Backoff(initial=0.5)
        while True:
            wanted = self._derive()
            try:
                if applied is None:
                    await self._apply(BASE, True)
                if rules := changed_rules(applied or {}, wanted):
                    await self._apply(rules, False)
            except RulesRefusedError as error:
                _log.error("service rules refused; all will be written anew", reason=str(error))
                applied = None
                await asyncio.sleep(backoff.next_delay())
                continue
            applied = wanted
            backoff.reset()
            self._settled.set()
            await self._wake.wait()
            self._wake.clear()

    def _derive(self) -> dict[str, Target]:
        for name in self._changed:
            self._wanted[name] = tuple(targets_of(self._services, name))
            if not self._wanted[name]:
                del self._wanted[name]
        self._changed.clear()
        return {target.chain: target for targets in self._wanted.values() for target in targets}


async def restore_rules(rules: str, replace: bool) -> None:
    """Hand rules to the kernel, in this process's network namespace, each table at once."""
    process = await asyncio.create_subprocess_exec(
        "iptables-restore",
        *([] if replace else ["--noflush"]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate(rules.encode())
    if process.returncode:
        raise RulesRefusedError(errors.decode(errors="replace").strip()[:500])
