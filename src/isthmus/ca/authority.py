"""The CA in force: follows its Secrets, makes the first root, takes a rotation's next step when it is due.

The operator's `cacerts` wins over our own `istio-ca-secret`. Whatever becomes of a Secret, the last good CA
stays in force; a fault is logged once, named, and shown in `refusal`. With several replicas each follows the
same Secret and whoever writes first is right: a write names the version that it is based on.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import structlog
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from isthmus.ca.errors import MaterialRefused
from isthmus.ca.material import OPERATOR_CA, OWN_CA, REVOKED, ROOT_CERT, read_signer
from isthmus.ca.own_secret import WANTED, data_of, new_secret, patch_of, read_roots
from isthmus.ca.rotation import Phase, Root, Roots, Schedule, advance, begin, next_step_at
from isthmus.ca.signer import Lifetimes, Signer, new_key, new_root, pem_of
from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import SECRET
from isthmus.kube.objects import Secret
from isthmus.kube.watch import Event, Removed, Synced, Upserted, WatchState, watch_kind
from isthmus.kube.watch import Phase as WatchPhase
from isthmus.lib.backoff import Backoff
from isthmus.lib.lifecycle import task_scope

_log = structlog.stdlib.get_logger(__name__)
_LOOK_AGAIN = 300.0
"""Seconds after which time alone may matter: a root grows old, a certificate expires."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How roots and certificates live. `introduce` is what a new root may need to reach every workload."""

    trust_domain: str = "cluster.local"
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    root_life: timedelta = timedelta(days=3650)
    introduce: timedelta = timedelta(minutes=10)

    @property
    def schedule(self) -> Schedule:
        """The phases of a rotation, in seconds."""
        introduce = self.introduce.total_seconds()
        longest = (self.lifetimes.most + self.lifetimes.skew).total_seconds()
        return Schedule(introduce=introduce, retire=longest + introduce)

    def new_root(self, now: datetime) -> Root:
        """A root that nobody has seen yet."""
        key = new_key()
        certificate = new_root(key, organization=self.trust_domain, life=self.root_life, now=now)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        return Root(pem_of([certificate]), pem)


class CertificateAuthority:
    """The CA as it is now; made by `running_authority` only."""

    def __init__(self, client: Client, namespace: str, rules: Rules, clock: Callable[[], float]) -> None:
        self.rules = rules
        self.refusal = ""
        """What is wrong with a Secret that is not in force because of it, "" if nothing."""
        self.unheeded = ""
        """What the Secret in force asks for in vain, "" if nothing."""
        self.lacking: Callable[[], Sequence[str]] = lambda: ()
        """Which clusters have not got the bundle of now: a new root does not sign before they have."""
        self.waiting = ""
        """Which clusters a new root waits for, in words; "" for none."""
        self._client = client
        self._namespace = namespace
        self._clock = clock
        self._signer: Signer | None = None
        self._taken: tuple[str, str] = ("", "")
        """The Secret in force and its version."""
        self._roots: Roots | None = None
        """What was last read from the own Secret."""
        self._secrets: dict[str, Secret] = {}
        self._listed: set[str] = set()
        self._woken = asyncio.Event()
        self._there = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []

    @property
    def signer(self) -> Signer | None:
        """What signs now; None until there is one, and when it has expired."""
        found = self._signer
        return found if found is not None and self._now() < found.ends else None

    @property
    def bundle(self) -> bytes | None:
        """The trusted roots, PEM; None until there are any."""
        return None if self._signer is None else self._signer.bundle

    async def ready(self) -> None:
        """Wait for the first CA."""
        await self._there.wait()

    def pending(self) -> str:
        """What is waited for, in words; "" once there is a CA."""
        return "" if self._there.is_set() else self.refusal or f"Secret {self._ref(OWN_CA)}"

    @contextmanager
    def subscribe(self, listener: Callable[[], None]) -> Generator[None]:
        """Call `listener` at once, on the event loop, as signer or bundle changes, until the block ends."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    # The work of its tasks

    async def watch(self, name: str) -> NoReturn:
        """Follow one of the two Secrets."""

        def deliver(event: Event[Secret]) -> None:
            match event:
                case Upserted(secret):
                    self._secrets[name] = secret
                case Removed():
                    self._secrets.pop(name, None)
                case Synced():
                    self._listed.add(name)
            self._woken.set()

        def report(state: WatchState) -> None:
            if state.phase is WatchPhase.FAILED and self._signer is None:
                self.refusal = f"Secret {self._ref(name)} cannot be read: {state.error}"

        await watch_kind(
            self._client,
            SECRET,
            deliver,
            namespace=self._namespace,
            field_selector=f"metadata.name={name}",
            report=report,
        )

    async def serve(self) -> NoReturn:
        """Bring the CA in force, and its Secret, to what they should be; again whenever either may differ."""
        backoff = Backoff()
        while True:
            self._woken.clear()
            wait = _LOOK_AGAIN
            if len(self._listed) == 2:
                try:
                    wait = await self._settle()
                    backoff.reset()
                except (ApiError, Unreachable) as error:
                    wait = backoff.next_delay()
                    _log.warning("CA secret cannot be written", secret=self._ref(OWN_CA), error=str(error))
                    if self._signer is None:
                        self.refusal = f"Secret {self._ref(OWN_CA)} cannot be written: {error}"
            try:
                async with asyncio.timeout(wait):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def _settle(self) -> float:
        """One look at everything; seconds until time alone asks for the next."""
        operator, own = self._secrets.get(OPERATOR_CA), self._secrets.get(OWN_CA)
        try:
            if operator is not None:
                self._take(operator)
            elif self._taken[0] == OPERATOR_CA:
                ref = self._ref(OPERATOR_CA)
                raise MaterialRefused(f"Secret {ref}", "it is gone; its CA stays in force until the restart")
            elif own is not None:
                return await self._rotate(own)
            else:
                await self._create()
        except MaterialRefused as error:
            if self.refusal != str(error):
                _log.error("CA secret refused", where=error.where, reason=error.reason)
            self.refusal = str(error)
        return _LOOK_AGAIN

    async def _create(self) -> None:
        """Make the first root, or write a Secret that somebody deleted again: its roots are trusted.

        Where another replica was faster, its Secret comes by the watch.
        """
        roots = self._roots or Roots(self.rules.new_root(self._now()))
        try:
            await self._client.create(SECRET, new_secret(roots, self._namespace))
        except ApiError as error:
            if error.status != 409:
                raise
        else:
            _log.info("self-signed root written", secret=self._ref(OWN_CA), anew=self._roots is None)

    async def _rotate(self, secret: Secret) -> float:
        """Use the own Secret, after its next step where that is due."""
        roots = read_roots(secret)
        signer = self._take(secret)
        self._roots = roots
        now, schedule = self._clock(), self.rules.schedule
        wanted = WANTED in secret.metadata.annotations
        if roots.phase is Phase.STEADY and (wanted or self._grows_old(signer)):
            new = begin(roots, self.rules.new_root(self._now()), now)
        else:
            new = advance(roots, now, schedule, lacking=self._is_lacking(roots))
        due = next_step_at(new, schedule)
        if new is not roots or wanted:
            read_signer(self._ref(OWN_CA), data_of(new), self._now())
            patch = patch_of(new, resource_version=secret.metadata.resource_version, next_step=due)
            try:
                await self._client.patch(SECRET, OWN_CA, patch, self._namespace)
            except ApiError as error:
                if error.status not in (404, 409):
                    raise
            else:
                log = _log.debug if new.phase is roots.phase else _log.info
                log("root rotation", phase=new.phase.value, secret=self._ref(OWN_CA))
        look = max(1.0, schedule.introduce / 10) if new.phase is Phase.INTRODUCING else _LOOK_AGAIN
        return look if due is None else max(0.0, min(due - now, look))

    def _is_lacking(self, roots: Roots) -> bool:
        """Whether a root that is being introduced has to wait; says for whom, once."""
        clusters = self.lacking() if roots.phase is Phase.INTRODUCING else ()
        before = self.waiting
        self.waiting = f"the next root waits until it is trusted in {', '.join(clusters)}" if clusters else ""
        if self.waiting not in ("", before):
            _log.info("root rotation waits", clusters=list(clusters))
        return bool(clusters)

    def _grows_old(self, signer: Signer) -> bool:
        """Whether a fifth of its life is left, as Istio's root rotator has it."""
        life = signer.ends - signer.certificate.not_valid_before_utc
        return signer.ends - self._now() < life / 5

    def _take(self, secret: Secret) -> Signer:
        """Let the Secret's CA be in force. Raises MaterialRefused."""
        name = secret.metadata.name
        seen = name, secret.metadata.resource_version
        if self._signer is not None and seen == self._taken:
            self.refusal = ""
            return self._signer
        signer = read_signer(self._ref(name), secret.data, self._now())
        before, self.refusal, self._taken = self._signer, "", seen
        self.unheeded = (
            f"Secret {self._ref(name)}, key {REVOKED}: lists of revoked certificates are not distributed; "
            f"to revoke a CA, take its root out of {ROOT_CERT}"
            if secret.data.get(REVOKED, b"").strip()
            else ""
        )
        if self.unheeded:
            _log.warning("CA secret asks for what is not done", reason=self.unheeded)
        if before is not None and before == signer:
            return signer
        if before is not None and before.roots[0] not in signer.roots:
            _log.warning("new CA does not trust the old root", secret=self._ref(name))
        self._signer = signer
        self._there.set()
        _log.info(
            "CA in force", secret=self._ref(name), roots=len(signer.roots), until=signer.ends.isoformat()
        )
        for listener in tuple(self._listeners):
            listener()
        return signer

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _ref(self, name: str) -> str:
        return f"{self._namespace}/{name}"


@asynccontextmanager
async def running_authority(
    client: Client, namespace: str, rules: Rules = Rules(), *, clock: Callable[[], float] = time.time
) -> AsyncGenerator[CertificateAuthority]:
    """The mesh's CA, kept in the control plane's `namespace`, until the block ends.

    It may have no signer yet: await `ready()`. `clock` gives Unix seconds.
    """
    authority = CertificateAuthority(client, namespace, rules, clock)
    async with task_scope() as tasks:
        for name in (OPERATOR_CA, OWN_CA):
            tasks.serve(authority.watch(name), name=f"watch {name}")
        tasks.serve(authority.serve(), name="CA")
        yield authority
