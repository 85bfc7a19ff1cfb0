"""Who is believed: real tokens of real API servers, and every way to cheat that we could think of."""

import asyncio
import base64
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from structlog.testing import capture_logs

from isthmus.ca.authentication import (
    Authenticator,
    Credentials,
    ReviewLimits,
    credentials_of,
    identity_of_certificate,
)
from isthmus.ca.errors import ProofUnavailable, Unauthenticated
from isthmus.ca.review import Reviewer
from isthmus.ca.signer import new_key
from isthmus.ca.tokens import Audiences
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import POD
from isthmus.model.identity import Identity
from isthmus.model.service import ClusterId
from tests.ca.clusters import EAST, WEST, two_clusters
from tests.ca.making import ECHO, MESH, NOW, certificate, root_signer
from tests.support.virtual_time import run_in_virtual_time

PEER = "10.0.0.9:4711"


def brought(token: str, cluster: ClusterId = WEST, peer: str = PEER) -> Credentials:
    return Credentials(peer, token, cluster=cluster)


def authenticator(reviewers: Mapping[ClusterId, Reviewer], **options: Any) -> Authenticator:
    return Authenticator(MESH, reviewers, home=WEST, **options)


async def refusal(judge: Authenticator, credentials: Credentials) -> str:
    with capture_logs() as logs, pytest.raises(Unauthenticated) as caught:
        await judge.authenticate(credentials)
    assert [entry["event"] for entry in logs] == ["caller refused"]
    assert {"peer", "cluster", "claimed", "proved", "reason"} <= logs[0].keys()
    if credentials.token:
        assert credentials.token not in repr(logs)
        assert credentials.token not in repr(caught.value) + repr(credentials)
    return logs[0]["reason"]


async def test_a_token_proves_account_cluster_and_pod() -> None:
    async with two_clusters() as clusters:
        judge = authenticator(clusters.clients)
        for cluster in (WEST, EAST):
            token = await clusters.token(cluster, pod="echo-1")
            proved = await judge.authenticate(brought(token, cluster))
            assert proved == Identity("cluster.local", "demo", "echo", cluster, "echo-1")
            end = jwt.decode(token, options={"verify_signature": False})["exp"]
            assert proved.expires == end, "the proof ends with the token"
        unbound = await clusters.token(account="other")
        assert (await judge.authenticate(brought(unbound))).pod == ""


async def test_a_caller_that_names_no_cluster_is_of_the_one_that_shows_its_pod() -> None:
    asked: list[tuple[str, str, str]] = []

    async def cluster_of(*where: str) -> ClusterId | None:
        asked.append((where[0], where[1], where[2]))
        return EAST if where[1] == "echo-1" else None

    nowhere = ClusterId("")
    async with two_clusters() as clusters:
        judge = authenticator({WEST: Silent(), EAST: clusters.clients[EAST]}, cluster_of=cluster_of)
        token = await clusters.token(EAST, pod="echo-1")
        assert (await judge.authenticate(brought(token, nowhere))).cluster == EAST
        assert asked == [("demo", "echo-1", "10.0.0.9")]
        bound = {"namespace": "demo", "pod": {"name": "gone"}}
        claims = {"aud": "istio-ca", "exp": time.time() + 60, "kubernetes.io": bound}
        with pytest.raises(ProofUnavailable, match="no one cluster shows the Pod"):
            await judge.authenticate(brought(jwt.encode(claims, "x" * 32, algorithm="HS256"), nowhere))


async def test_a_token_that_is_bound_to_no_pod_and_names_no_cluster_is_reviewed_at_home() -> None:
    async with two_clusters() as clusters:
        judge = authenticator({WEST: clusters.clients[WEST], EAST: Silent()})
        assert (await judge.authenticate(brought(await clusters.token(), ClusterId("")))).cluster == WEST
        assert "does not accept" in await refusal(judge, brought(await clusters.token(EAST), ClusterId("")))


async def test_a_token_that_names_a_cluster_is_shown_to_no_other() -> None:
    async with two_clusters() as clusters:
        judge = authenticator({**clusters.clients, ClusterId("curious"): Silent()})
        await judge.authenticate(brought(await clusters.token(EAST), EAST))
        await refusal(judge, brought(await clusters.token(EAST), WEST))


async def test_a_token_of_another_cluster_is_refused() -> None:
    async with two_clusters() as clusters:
        judge = authenticator(clusters.clients)
        token = await clusters.token(EAST)
        assert "does not accept" in await refusal(judge, brought(token, WEST))
        assert "not in this mesh" in await refusal(judge, brought(token, ClusterId("north")))
        assert (await judge.authenticate(brought(token, EAST))).cluster == EAST


async def test_a_token_for_another_audience_is_refused_without_asking() -> None:
    async with two_clusters() as clusters:
        token = await clusters.token(audience="vault")
        assert "for vault, not for istio-ca" in await refusal(authenticator({WEST: Silent()}), brought(token))
        token = await clusters.token(audience="https://kubernetes.default.svc.cluster.local")
        assert "not for istio-ca" in await refusal(authenticator({WEST: Silent()}), brought(token))


async def test_first_party_tokens_pass_only_where_the_operator_said_so() -> None:
    async with two_clusters() as clusters:
        token = await clusters.token(audience="https://kubernetes.default.svc.cluster.local")
        judge = authenticator(clusters.clients, audiences=Audiences(first_party=True))
        assert (await judge.authenticate(brought(token))).service_account == "echo"
        assert "for vault" in await refusal(judge, brought(await clusters.token(audience="vault")))


async def test_an_expired_token_is_refused_without_asking() -> None:
    async with two_clusters() as clusters:
        token = await clusters.token(seconds=600)
    judge = authenticator({WEST: Silent()}, clock=lambda: time.time() + 601)
    assert "expired" in await refusal(judge, brought(token))


async def test_forged_tokens_are_refused() -> None:
    async with two_clusters() as clusters:
        judge = authenticator(clusters.clients)
        good = await clusters.token()
        claims = jwt.decode(good, options={"verify_signature": False})
        head, body, signature = good.split(".")
        flipped = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
        admin = claims | {"sub": "system:serviceaccount:demo:other"}
        swapped = base64.urlsafe_b64encode(msgspec.json.encode(admin)).rstrip(b"=").decode()
        for forged in (
            f"{head}.{body}.{flipped}",
            f"{head}.{swapped}.{signature}",
            jwt.encode(claims, new_key(), algorithm="ES256", headers=jwt.get_unverified_header(good)),
            jwt.encode(claims, "x" * 32, algorithm="HS256"),
            jwt.encode(claims, "", algorithm="none"),
        ):
            assert "does not accept" in await refusal(judge, brought(forged))


@pytest.mark.parametrize(
    "token",
    ["", "x", "a.b.c", "e30.e30.", "..", "\0.\0.\0", "é.é.é", "x" * 20_000, "e30." + "[" * 9000 + ".x"],
)
async def test_garbage_is_refused_without_asking(token: str) -> None:
    await refusal(authenticator({WEST: Silent()}), brought(token))


async def test_a_token_ends_with_its_pod_as_soon_as_it_is_forgotten() -> None:
    async with two_clusters() as clusters:
        clock = [time.time()]
        judge = authenticator(clusters.clients, clock=lambda: clock[0])
        token = await clusters.token(pod="echo-1")
        await judge.authenticate(brought(token))
        await clusters.clients[WEST].delete(POD, "echo-1", "demo", grace_seconds=0)
        await judge.authenticate(brought(token))
        clock[0] += 61
        assert "does not accept" in await refusal(judge, brought(token))


class Silent:
    """A cluster that must not be asked."""

    async def request(self, method: str, path: str, *, body: Any = None) -> bytes:
        raise AssertionError("nobody was to be asked")


class Scripted:
    """A cluster that answers, fails or hangs as told."""

    def __init__(self, *answers: "dict[str, Any] | bytes | Exception | None") -> None:
        self.answers = list(answers)
        self.asked = 0

    async def request(self, method: str, path: str, *, body: Any = None) -> bytes:
        self.asked += 1
        match self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]:
            case None:
                await asyncio.Event().wait()
                raise AssertionError
            case Exception() as error:
                raise error
            case bytes() as text:
                return text
            case status:
                return msgspec.json.encode({"status": status})


def token_for(audience: str = "istio-ca", expires: float = 1e10, **claims: Any) -> str:
    return jwt.encode({"aud": [audience], "exp": expires, **claims}, "x" * 32, algorithm="HS256")


def accepted(name: str = "system:serviceaccount:demo:echo", **status: Any) -> dict[str, Any]:
    user = {"username": name, "groups": ["system:serviceaccounts"]}
    return {"authenticated": True, "user": user, "audiences": ["istio-ca"]} | status


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Unreachable("connection refused"), "cannot be asked: connection refused"),
        (ApiError(403, "Forbidden", "no"), "grant us create on tokenreviews"),
        (ApiError(500, "InternalError", "no"), "500 InternalError"),
        (b"<html>", "no TokenReview"),
        (b"\xff", "no TokenReview"),
        (b'{"status": []}', "no TokenReview"),
    ],
)
async def test_a_cluster_that_cannot_answer_makes_it_unavailable_not_refused(
    answer: bytes | Exception, reason: str
) -> None:
    judge = authenticator({WEST: Scripted(answer, accepted())})
    with capture_logs() as logs, pytest.raises(ProofUnavailable) as caught:
        await judge.authenticate(brought(token_for()))
    assert reason in caught.value.reason
    assert logs[0]["event"] == "caller cannot be proved now"
    assert (await judge.authenticate(brought(token_for()))).uri == ECHO.uri


def test_a_cluster_that_hangs_is_given_up_and_a_full_queue_too() -> None:
    async def scenario() -> None:
        judge = authenticator(
            {WEST: Scripted(None), EAST: Scripted(accepted())}, limits=ReviewLimits(at_once=1)
        )

        async def ask() -> str:
            with pytest.raises(ProofUnavailable) as caught:
                await judge.authenticate(brought(token_for()))
            return caught.value.reason

        first, second = await asyncio.gather(ask(), ask())
        assert first == "its cluster did not review the token within 5 s"
        assert second in (first, "its cluster has too many tokens to review")
        await judge.authenticate(brought(token_for(), EAST))

    run_in_virtual_time(scenario())


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"authenticated": False}, "does not accept"),
        ({}, "does not accept"),
        ({"authenticated": True}, "does not accept"),
        (accepted(audiences=[]), "did not confirm"),
        (accepted(audiences=["vault"]), "did not confirm"),
        (accepted("admin"), "no service account"),
        (accepted("system:serviceaccount:demo"), "no service account"),
        (accepted("system:serviceaccount:demo:a:b"), "no service account"),
        (accepted(user={"username": "system:serviceaccount:demo:echo", "groups": []}), "no service account"),
    ],
)
async def test_only_a_service_account_of_the_right_audience_is_proved(
    status: dict[str, Any], reason: str
) -> None:
    assert reason in await refusal(authenticator({WEST: Scripted(status)}), brought(token_for()))


async def test_answers_are_remembered_for_a_moment_and_never_beyond_the_tokens_life() -> None:
    clock = [1000.0]
    cluster = Scripted(accepted())
    judge = authenticator({WEST: cluster, EAST: cluster}, clock=lambda: clock[0])
    token = token_for(expires=1030.0)
    for _ in range(3):
        await judge.authenticate(brought(token))
    assert cluster.asked == 1
    await judge.authenticate(brought(token, EAST))
    assert cluster.asked == 2
    clock[0] = 1031.0
    assert "expired" in await refusal(judge, brought(token))


async def test_what_a_cluster_vouched_for_is_forgotten_as_it_leaves_or_another_takes_its_name() -> None:
    first, second = Scripted(accepted()), Scripted({"authenticated": False})
    clusters: dict[ClusterId, Reviewer] = {WEST: first}
    judge, token = authenticator(clusters), token_for()
    await judge.authenticate(brought(token))
    clusters[WEST] = second
    assert "does not accept" in await refusal(judge, brought(token))
    other = token_for(n=1)
    clusters[WEST] = first
    await judge.authenticate(brought(other))
    del clusters[WEST]
    assert "not in this mesh" in await refusal(judge, brought(other))
    assert (first.asked, second.asked) == (2, 1)


async def test_a_refusal_is_remembered_only_briefly() -> None:
    clock = [1000.0]
    cluster = Scripted({}, accepted())
    judge = authenticator({WEST: cluster}, clock=lambda: clock[0])
    await refusal(judge, brought(token_for()))
    await refusal(judge, brought(token_for()))
    assert cluster.asked == 1
    clock[0] += 6
    await judge.authenticate(brought(token_for()))


async def test_an_address_that_sends_many_bad_tokens_is_not_listened_to_while_others_are() -> None:
    cluster = Scripted(*[{"authenticated": False}] * 50, accepted())
    judge = authenticator({WEST: cluster}, clock=lambda: 1000.0)
    for number in range(50):
        await refusal(judge, brought(token_for(n=number)))
    with pytest.raises(ProofUnavailable, match="too many refused"):
        await judge.authenticate(brought(token_for(n=99), peer="10.0.0.9:5000"))
    assert cluster.asked == 50
    await judge.authenticate(brought(token_for(n=99), peer="10.0.0.10:4711"))


def read(der: bytes) -> Identity:
    return identity_of_certificate(der, MESH, NOW.timestamp())


def test_a_client_certificate_proves_the_identity_in_its_uri() -> None:
    signer = root_signer()
    for uri in (ECHO.uri, "spiffe://old.example/ns/demo/sa/echo"):
        leaf = signer.issue(uri, new_key().public_key(), life=timedelta(1), skew=timedelta(0), now=NOW)
        assert read(leaf.public_bytes(Encoding.DER)) == ECHO


async def test_a_certificate_proves_nothing_once_it_has_expired_however_old_its_connection_is() -> None:
    signer, clock = root_signer(), [NOW.timestamp()]
    leaf = signer.issue(
        ECHO.uri, new_key().public_key(), life=timedelta(minutes=1), skew=timedelta(0), now=NOW
    )
    judge = authenticator({WEST: Silent()}, clock=lambda: clock[0])
    shown = Credentials(PEER, certificate=leaf.public_bytes(Encoding.DER))
    clock[0] += 59
    assert (await judge.authenticate(shown)).expires == NOW.timestamp() + 60
    clock[0] += 3
    assert await refusal(judge, shown) == "its certificate expired 2 s ago"


async def test_a_certificate_that_is_no_workloads_is_refused() -> None:
    signer = root_signer()

    def leaf(uri: str) -> bytes:
        made = signer.issue(uri, new_key().public_key(), life=timedelta(1), skew=timedelta(0), now=NOW)
        return made.public_bytes(Encoding.DER)

    server = signer.issue_serving(
        ["istiod"], new_key().public_key(), life=timedelta(1), skew=timedelta(0), now=NOW
    )
    for der in (
        b"garbage",
        leaf("spiffe://other.example/ns/demo/sa/echo"),
        leaf("spiffe://cluster.local/ns/demo/sa/echo/x"),
        leaf("https://cluster.local/ns/demo/sa/echo"),
        server.public_bytes(Encoding.DER),
        certificate("x", new_key(), signer, ca=False).public_bytes(Encoding.DER),
    ):
        await refusal(authenticator({WEST: Silent()}), Credentials(PEER, certificate=der))


def credentials(certificate: bytes | None = None, **headers: str) -> Credentials:
    return credentials_of(headers, certificate, PEER)


def test_credentials_come_from_istios_metadata() -> None:
    found = credentials(authorization="Bearer abc", clusterid="west")
    assert (found.token, found.cluster, found.peer, found.certificate) == ("abc", "west", PEER, b"")
    assert credentials(b"der").certificate == b"der"
    assert credentials(authorization="bearer abc").token == "abc"
    assert credentials(authorization="Basic abc").token == ""


async def test_credentials_that_came_twice_count_for_nothing() -> None:
    """A field that is repeated is joined by commas (RFC 9110, 5.3)."""
    async with two_clusters() as clusters:
        judge, token = authenticator(clusters.clients), await clusters.token()
        twice = credentials(authorization=f"Bearer {token},Bearer {token}", clusterid="west")
        assert "no JSON Web Token" in await refusal(judge, twice)
        both = credentials(authorization=f"Bearer {token}", clusterid="west,east")
        assert "not in this mesh" in await refusal(judge, both)


async def test_an_address_that_is_refused_for_ever_does_not_fill_the_log() -> None:
    judge = authenticator({WEST: Silent()}, clock=lambda: 0.0)
    with capture_logs() as logs:
        for _ in range(1000):
            with pytest.raises(Unauthenticated):
                await judge.authenticate(brought("garbage"))
        with pytest.raises(Unauthenticated):
            await judge.authenticate(brought("garbage", peer="10.0.0.10:4711"))
    assert len(logs) == 51
    assert judge.refused == 1001
