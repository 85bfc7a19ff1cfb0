"""Tokens that renew themselves: by one replica, in time, and what happens where they do not."""

import asyncio
import base64
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from isthmus.clusters.annotations import ACCOUNT_OF, EXPIRES, IDENTITY, LIFETIME, ORIGIN
from isthmus.clusters.health import State
from isthmus.clusters.renewal import LEASE
from isthmus.clusters.renewing import renewable, warn_of_end
from isthmus.clusters.roster import read_claims
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.objects import Metadata, Secret
from tests.clusters.fake_world import CONTROL, World
from tests.clusters.running import in_virtual_time, running_mesh, world_of

LIFE = 3600.0
"""Seconds that a token lasts."""
START = 1.8e9
ACCOUNT = "istio-system/istio-reader-service-account"
TOKEN_PATH = "/api/v1/namespaces/istio-system/serviceaccounts/istio-reader-service-account/token"
SECRET_PATH = f"/api/v1/namespaces/{CONTROL}/secrets/east"


def jwt(begins: float, ends: float) -> str:
    body = base64.urlsafe_b64encode(json.dumps({"iat": begins, "exp": ends}).encode()).rstrip(b"=").decode()
    return f"e30.{body}.c2ln"


def wall() -> float:
    return START + asyncio.get_running_loop().time()


@dataclass
class Credential:
    """The Secret of *east* in the control plane's cluster, and the account that issues tokens for it."""

    world: World
    grants: float = LIFE
    ahead: float = 0.0
    """By how many seconds its cluster's clock is ahead."""
    trouble: Exception | None = None
    patch_trouble: Exception | None = None
    issued: list[float] = field(default_factory=list[float])
    version: int = 0
    secret: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        home, east = self.world["home"], self.world["east"]
        home.handlers[f"GET {SECRET_PATH}"] = lambda _: msgspec.json.encode(self.secret)
        home.handlers[f"PATCH {SECRET_PATH}"] = self._patch
        east.handlers[f"POST {TOKEN_PATH}"] = self._issue
        east.handlers["GET /api/v1/namespaces/kube-system"] = lambda _: (
            b'{"metadata": {"uid": "uid-of-east"}}'
        )
        east.tokens.clear()

    def begin(self) -> None:
        """As `isthmus cluster add` leaves it."""
        token = json.loads(self._issue({"spec": {"expirationSeconds": LIFE}}))["status"]["token"]
        notes = {
            ACCOUNT_OF: ACCOUNT,
            LIFETIME: "86400",
            ORIGIN: "token",
            IDENTITY: "uid-of-east",
            EXPIRES: "",
        }
        kubeconfig = self.world.kubeconfig("east", token).encode()
        self._store(notes, {"east": base64.b64encode(kubeconfig).decode()})

    @property
    def ends(self) -> float:
        """By what the Secret's annotation tells people."""
        return datetime.fromisoformat(self.secret["metadata"]["annotations"][EXPIRES]).timestamp()

    def _issue(self, body: Any) -> bytes:
        if self.trouble is not None:
            raise self.trouble
        now = wall()
        lasts = min(self.grants, body["spec"]["expirationSeconds"])
        token = jwt(now + self.ahead, now + self.ahead + lasts)
        self.world["east"].tokens.add(token)
        asyncio.get_running_loop().call_later(lasts, self.world["east"].tokens.discard, token)
        self.issued.append(now - START)
        ends = datetime.fromtimestamp(now + self.ahead + lasts, UTC).isoformat()
        return msgspec.json.encode({"status": {"token": token, "expirationTimestamp": ends}})

    def _patch(self, body: Any) -> bytes:
        if self.patch_trouble is not None:
            raise self.patch_trouble
        if body["metadata"]["resourceVersion"] != self.secret["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "east")
        metadata = self.secret["metadata"]
        self._store({**metadata["annotations"], **body["metadata"]["annotations"]}, body["data"])
        return msgspec.json.encode(self.secret)

    def _store(self, notes: dict[str, str], data: dict[str, str]) -> None:
        self.version += 1
        metadata = {"name": "east", "namespace": CONTROL, "annotations": notes}
        self.secret = {"metadata": {**metadata, "resourceVersion": str(self.version)}, "data": data}
        self.world.put_secret("east", annotations=notes, east=base64.b64decode(data["east"]))


@in_virtual_time
async def test_a_token_is_renewed_by_one_replica_at_half_its_life_for_as_long_as_they_run():
    world = world_of("east")
    credential = Credential(world)
    credential.begin()
    async with running_mesh(world, wall=wall) as one, running_mesh(world, wall=wall) as other:
        await one.clusters.settled()
        one.told.clear()
        await asyncio.sleep(10 * LIFE)
        lives = [b - a for a, b in zip(credential.issued, credential.issued[1:], strict=False)]
        assert 16 <= len(lives) <= 25
        assert all(0.4 * LIFE <= life <= 0.6 * LIFE + 60 for life in lives)
        assert one.told == []
        for mesh in (one, other):
            status = mesh.status("east")
            assert (status.state, status.remarks) == (State.FRESH, ())
            assert status.rotations == len(lives)
            assert abs((status.expires or 0) - credential.ends) < 1
        assert world["home"].written[LEASE]["spec"]["leaseTransitions"] == 0


@pytest.mark.parametrize("ahead", [-3 * LIFE, -0.7 * LIFE, 0.7 * LIFE, 3 * LIFE])
def test_a_token_is_renewed_in_time_whatever_its_clusters_clock_says(ahead: float) -> None:
    @in_virtual_time
    async def scenario() -> None:
        world = world_of("east")
        credential = Credential(world, ahead=ahead)
        credential.begin()
        async with running_mesh(world, wall=wall) as mesh:
            await mesh.clusters.settled()
            for _ in range(4):
                await asyncio.sleep(LIFE)
                assert mesh.status("east").state is State.FRESH
        # The first may come early: a token of the past may be old, or its cluster's clock behind.
        lives = [b - a for a, b in zip(credential.issued[1:], credential.issued[2:], strict=False)]
        assert 5 <= len(lives) <= 10
        assert all(0.4 * LIFE <= life <= 0.6 * LIFE + 60 for life in lives)

    scenario()


@in_virtual_time
async def test_a_replica_that_ends_leaves_renewal_to_the_other():
    world = world_of("east")
    credential = Credential(world)
    credential.begin()
    async with AsyncExitStack() as stack:
        async with running_mesh(world, wall=wall):
            await asyncio.sleep(0.1 * LIFE)
            await stack.enter_async_context(running_mesh(world, wall=wall))
            await asyncio.sleep(0.96 * LIFE)
            assert len(credential.issued) in (2, 3)
        before = len(credential.issued)
        await asyncio.sleep(LIFE)
        assert len(credential.issued) - before >= 1


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (ApiError(403, "Forbidden", "cannot create serviceaccounts/token"), "tier renew"),
        (Unreachable("no route"), "no route"),
        (ApiError(500, "InternalError", ""), "500"),
    ],
)
def test_while_renewal_fails_the_old_token_works_on_and_it_is_said(trouble: Exception, words: str):
    @in_virtual_time
    async def scenario() -> None:
        world = world_of("east")
        credential = Credential(world)
        credential.begin()
        async with running_mesh(world, wall=wall) as mesh:
            await mesh.clusters.settled()
            credential.trouble = trouble
            await asyncio.sleep(0.92 * LIFE)
            status = mesh.status("east")
            assert (status.state, len(credential.issued), status.rotations) == (State.FRESH, 1, 0)
            (remark,) = status.remarks
            assert "its token cannot be renewed" in remark
            assert words in remark
            credential.trouble = None
            await asyncio.sleep(0.1 * LIFE)
            assert mesh.status("east").remarks == ()
            assert len(credential.issued) == 2

    scenario()


@in_virtual_time
async def test_a_secret_that_changed_meanwhile_or_must_not_be_changed_is_left_as_it_is():
    world = world_of("east")
    credential = Credential(world)
    credential.begin()
    async with running_mesh(world, wall=wall) as mesh:
        await mesh.clusters.settled()
        credential.patch_trouble = ApiError(403, "Forbidden", "cannot patch secrets")
        await asyncio.sleep(0.67 * LIFE)
        assert f"grant the control plane patch on Secret {CONTROL}/east" in mesh.status("east").remarks[0]
        # Somebody rotated by hand while ours was on its way.
        credential.patch_trouble = ApiError(409, "Conflict", "east")
        await asyncio.sleep(0.1 * LIFE)
        credential.patch_trouble = None
        credential.begin()
        by_hand = credential.secret
        await asyncio.sleep(0.1 * LIFE)
        assert credential.secret == by_hand
        assert mesh.status("east").remarks == ()


@in_virtual_time
async def test_a_new_token_that_does_not_work_never_reaches_the_secret():
    world = world_of("east")
    credential = Credential(world)
    credential.begin()
    async with running_mesh(world, wall=wall) as mesh:
        await mesh.clusters.settled()
        before = credential.secret
        answer = world["east"].handlers[f"POST {TOKEN_PATH}"]

        def useless(body: Any) -> bytes:
            issued = answer(body)
            world["east"].tokens.discard(json.loads(issued)["status"]["token"])
            return issued

        world["east"].handlers[f"POST {TOKEN_PATH}"] = useless
        await asyncio.sleep(0.83 * LIFE)
        assert credential.secret == before
        assert "401" in mesh.status("east").remarks[0]
        assert mesh.status("east").state is State.FRESH


@in_virtual_time
async def test_tokens_shorter_than_asked_for_are_renewed_by_their_own_life():
    world = world_of("east")
    credential = Credential(world, grants=LIFE / 4)
    credential.begin()
    async with running_mesh(world, wall=wall) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(LIFE)
        assert 7 <= len(credential.issued) <= 12
        assert mesh.status("east").state is State.FRESH


@in_virtual_time
async def test_without_a_token_of_ours_there_is_no_election():
    world = world_of("east")
    world.put_secret("s", east=world.kubeconfig("east"))
    async with running_mesh(world, wall=wall) as mesh:
        await mesh.clusters.settled()
        await asyncio.sleep(0.1 * LIFE)
        assert LEASE not in world["home"].written


def test_only_a_token_that_cluster_add_made_alone_in_its_secret_is_renewed():
    world = World("east")
    notes = {ACCOUNT_OF: ACCOUNT, LIFETIME: "7200", ORIGIN: "token"}
    good = {"east": world.kubeconfig("east", jwt(1000.0, 8200.0)).encode()}

    def read(notes: dict[str, str], data: dict[str, bytes]) -> object:
        metadata = Metadata(name="s", namespace=CONTROL, annotations=notes)
        return renewable(read_claims(Secret(metadata=metadata, data=data))[0])

    found = renewable(
        read_claims(Secret(metadata=Metadata(name="s", namespace=CONTROL, annotations=notes), data=good))[0]
    )
    assert found is not None
    assert (found.namespace, found.account) == tuple(ACCOUNT.split("/"))
    assert (found.seconds, found.begins, found.ends) == (7200, 1000.0, 8200.0)
    assert 1000 + 0.4 * 7200 <= found.due <= 1000 + 0.6 * 7200
    assert read({**notes, ORIGIN: "copied"}, good) is None
    assert read({**notes, ACCOUNT_OF: "nonsense"}, good) is None
    assert read(notes, {**good, "west": good["east"]}) is None
    assert read(notes, {"east": world.kubeconfig("east", "opaque").encode()}) is None
    assert read(notes, {"east": b"no kubeconfig"}) is None
    asked = [{**notes, LIFETIME: text} for text in ("1", "-5", "soon", "9" * 30)]
    assert [getattr(read(each, good), "seconds", None) for each in asked] == [600, 86400, 86400, 86400]


def test_an_end_that_comes_near_is_spoken_of():
    world = World("east")
    notes = {ACCOUNT_OF: ACCOUNT, ORIGIN: "token"}
    data = {"east": world.kubeconfig("east", jwt(0.0, 1000.0)).encode()}
    metadata = Metadata(name="s", namespace=CONTROL, annotations=notes)
    ours = renewable(read_claims(Secret(metadata=metadata, data=data))[0])
    assert warn_of_end(1000.0, ours, 740.0) == ""
    assert (
        warn_of_end(1000.0, ours, 760.0)
        == "its credential ends in 4 minutes, and its renewal has failed so far"
    )
    assert warn_of_end(1e6, None, 1e6 - 8 * 86400) == ""
    assert "put a new one into its Secret" in warn_of_end(1e6, None, 1e6 - 6 * 86400)
    assert warn_of_end(None, None, 0.0) == warn_of_end(1.0, None, 2.0) == ""
