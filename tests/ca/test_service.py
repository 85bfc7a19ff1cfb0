"""The CSR service on a real gRPC server with TLS, asked by workloads and by attackers."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from grpc import aio
from structlog.testing import capture_logs

from isthmus.apps.callers import certifying, proving
from isthmus.ca.authentication import Authenticator
from isthmus.ca.messages import METHOD, CertificateRequest, decode_response, encode_request
from isthmus.ca.service import CertificateService, ServiceLimits
from isthmus.ca.serving import ServingCertificate
from isthmus.ca.signer import Lifetimes, Signer, new_key, pem_of
from isthmus.model.service import ClusterId
from isthmus.xds.grpc_server import serving_grpc
from isthmus.xds.grpc_unary import answering
from isthmus.xds.limits import Limits
from tests.ca.clusters import EAST, WEST, Clusters, two_clusters
from tests.ca.making import ECHO, MESH, certificate, csr, key_pem, root_signer, uri
from tests.support.ca_client import Issued, make_csr, request_certificate

HOST = "istio-pilot.istio-system.svc"
LIFETIMES = Lifetimes(timedelta(hours=24), timedelta(days=7), timedelta(minutes=2))


@dataclass
class Source:
    signer: Signer | None


@dataclass
class Scene:
    clusters: Clusters
    source: Source
    service: CertificateService
    port: int

    @asynccontextmanager
    async def channel(
        self, *, key: bytes | None = None, chain: bytes | None = None
    ) -> AsyncGenerator[aio.Channel]:
        assert self.source.signer is not None
        credentials = grpc.ssl_channel_credentials(self.source.signer.bundle, key, chain)
        options = (("grpc.ssl_target_name_override", HOST),)
        async with aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options) as channel:
            yield channel

    async def ask(self, csr_pem: str, token: str, *, cluster: ClusterId = WEST, seconds: int = 0) -> Issued:
        async with self.channel() as channel:
            return await request_certificate(
                channel, csr_pem, seconds=seconds, token=token, cluster=cluster, timeout=10
            )

    async def refusal(
        self, csr_pem: str, token: str, *, cluster: ClusterId = WEST, seconds: int = 0
    ) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(aio.AioRpcError) as caught:
            await self.ask(csr_pem, token, cluster=cluster, seconds=seconds)
        return caught.value.code(), caught.value.details() or ""


@asynccontextmanager
async def scene(limits: ServiceLimits | None = None) -> AsyncGenerator[Scene]:
    signer = root_signer(datetime.now(UTC))
    source = Source(signer)
    async with two_clusters() as clusters:
        judge = Authenticator(MESH, clusters.clients, home=WEST)
        service = CertificateService(source, MESH, LIFETIMES, limits=limits or ServiceLimits())
        context = ServingCertificate(source, [HOST], LIFETIMES).server_context()
        async with (
            answering(certifying(service)) as handler,
            serving_grpc(
                "127.0.0.1:0",
                {METHOD: handler},
                Limits(drain=0),
                ssl_context=context,
                authenticate=proving(judge),
            ) as port,
        ):
            yield Scene(clusters, source, service, port)


async def test_a_workload_gets_a_certificate_for_who_it_is_in_either_cluster() -> None:
    async with scene() as it:
        for cluster in (WEST, EAST):
            key = new_key()
            token = await it.clusters.token(cluster, pod="echo-1")
            issued = await it.ask(make_csr(key, ECHO.uri), token, cluster=cluster, seconds=10)
            leaf = x509.load_pem_x509_certificate(issued.chain[0].encode())
            assert leaf.public_key() == key.public_key()
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert list(names) == [uri(ECHO.uri)]
            assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(minutes=2, seconds=10)
            assert it.source.signer is not None
            assert "".join(issued.roots).encode() == it.source.signer.bundle
            assert issued.expires == leaf.not_valid_after_utc.timestamp()
        assert it.service.tally.issued == 2


async def test_the_default_life_is_a_day_and_too_long_a_one_is_refused() -> None:
    async with scene() as it:
        token = await it.clusters.token()
        issued = await it.ask(make_csr(new_key(), ECHO.uri), token)
        leaf = x509.load_pem_x509_certificate(issued.chain[0].encode())
        assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(hours=24, minutes=2)
        code, details = await it.refusal(make_csr(new_key(), ECHO.uri), token, seconds=8 * 86400)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "691200 s" in details


async def test_istios_agent_is_answered_as_by_istiod() -> None:
    """Its request has an RSA key, a subject with an empty organization and an empty signer; of the answer it
    takes the last element for all that it trusts (Istio: GenCSRTemplate, CSRSign, secretcache).
    """
    now = datetime.now(UTC)
    root, other, between = root_signer(now), root_signer(now), rsa.generate_private_key(65537, 2048)
    intermediate = certificate("intermediate", between, root, now=now)
    roots = (root.certificate, other.certificate)
    async with scene() as it:
        it.source.signer = Signer(intermediate, between, (intermediate,), roots)
        key = rsa.generate_private_key(65537, 2048)
        organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "", _validate=False)
        builder = x509.CertificateSigningRequestBuilder(x509.Name([organization]))
        named = builder.add_extension(x509.SubjectAlternativeName([uri(ECHO.uri)]), critical=True)
        pem = named.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()
        wish = encode_request(CertificateRequest(pem, 86_400, {"CertSigner": ""}))
        metadata = aio.Metadata(
            ("clusterid", "west"), ("authorization", f"Bearer {await it.clusters.token(pod='echo-1')}")
        )
        async with it.channel() as channel:
            ask: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
            leaf, middle, trusted = decode_response(await ask(wish, metadata=metadata))
        assert x509.load_pem_x509_certificate(leaf.encode()).public_key() == key.public_key()
        x509.load_pem_x509_certificate(leaf.encode()).verify_directly_issued_by(intermediate)
        assert x509.load_pem_x509_certificates(middle.encode()) == [intermediate]
        assert tuple(x509.load_pem_x509_certificates(trusted.encode())) == roots
        it.source.signer = None
        async with aio.secure_channel(
            f"127.0.0.1:{it.port}",
            grpc.ssl_channel_credentials(pem_of(roots)),
            (("grpc.ssl_target_name_override", HOST),),
        ) as channel:
            ask = channel.unary_unary(METHOD)
            with pytest.raises(aio.AioRpcError) as caught:
                await ask(wish, metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE, "its agent tries again"


async def test_a_certificate_is_renewed_by_a_token_and_never_by_itself() -> None:
    async with scene() as it:
        key, token = new_key(), await it.clusters.token()
        first = await it.ask(make_csr(key, ECHO.uri), token)
        async with it.channel(key=key_pem(key), chain="".join(first.chain).encode()) as channel:

            async def renew(shown: str) -> Issued:
                csr_pem = make_csr(new_key(), ECHO.uri)
                return await request_certificate(
                    channel, csr_pem, seconds=0, token=shown, cluster=WEST, timeout=10
                )

            assert (await renew(token)).chain[0] != first.chain[0]
            for no_proof in ("", "garbage", await it.clusters.token(EAST)):
                with pytest.raises(aio.AioRpcError) as caught:
                    await renew(no_proof)
                assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
                assert "show a token" in (caught.value.details() or "")
        assert it.service.tally.issued == 2


async def test_a_certificate_of_another_ca_does_not_get_as_far_as_asking() -> None:
    async with scene() as it:
        stranger, key = root_signer(datetime.now(UTC)), new_key()
        leaf = stranger.issue(
            ECHO.uri, key.public_key(), life=timedelta(1), skew=timedelta(0), now=datetime.now(UTC)
        )
        chain = leaf.public_bytes(Encoding.PEM)
        async with it.channel(key=key_pem(key), chain=chain) as channel:
            with pytest.raises(aio.AioRpcError) as caught:
                await request_certificate(
                    channel, make_csr(key, ECHO.uri), seconds=0, token="", cluster=WEST, timeout=3
                )
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert it.service.tally.issued == 0


async def test_who_proves_nothing_gets_nothing() -> None:
    async with scene() as it:
        good = make_csr(new_key(), ECHO.uri)
        for token, cluster in (
            ("", WEST),
            ("garbage", WEST),
            (await it.clusters.token(audience="vault"), WEST),
            (await it.clusters.token(EAST), WEST),
            (await it.clusters.token(), EAST),
            (await it.clusters.token(), ClusterId("nowhere")),
        ):
            code, _ = await it.refusal(good, token, cluster=cluster)
            assert code is grpc.StatusCode.UNAUTHENTICATED
        assert it.service.tally.issued == 0


async def test_each_bad_request_is_refused_with_its_reason_and_both_identities_logged() -> None:
    async with scene() as it:
        token = await it.clusters.token(pod="echo-1")
        weak = rsa.generate_private_key(65537, 1024)
        denied, invalid = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT
        for pem, expected, reason in (
            (make_csr(new_key(), "spiffe://cluster.local/ns/demo/sa/other"), denied, "sa/other"),
            (make_csr(new_key(), "spiffe://other.example/ns/demo/sa/echo"), denied, "other.example"),
            (
                csr(names=[uri(ECHO.uri), x509.DNSName("kubernetes.default.svc")]),
                invalid,
                "kubernetes.default.svc",
            ),
            (csr(weak), invalid, "1024 bits"),
            (csr(None, (), x509.BasicConstraints(ca=True, path_length=None)), invalid, "CA:TRUE"),
            ("", invalid, "no PEM"),
            ("x" * 20_000, invalid, "20000 characters"),
            ("x" * 100_000, invalid, "bytes"),
        ):
            with capture_logs() as logs:
                code, details = await it.refusal(pem, token)
            assert (code, reason in details) == (expected, True), details
            refused = [entry for entry in logs if entry["event"] == "certificate refused"]
            assert len(refused) == 1
            assert refused[0]["proved"] == ECHO.uri
            assert refused[0]["cluster"] == WEST
            assert reason in refused[0]["reason"]
            assert token not in repr(logs)


async def test_nobody_may_ask_in_anothers_name() -> None:
    async with scene() as it:
        metadata = {"ImpersonatedIdentity": "spiffe://cluster.local/ns/demo/sa/other"}
        request = encode_request(CertificateRequest(csr(), 0, metadata))
        token = await it.clusters.token()
        async with it.channel() as channel:
            ask: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
            with pytest.raises(aio.AioRpcError) as caught:
                await ask(request, metadata=aio.Metadata(("authorization", f"Bearer {token}")))
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            with pytest.raises(aio.AioRpcError) as caught:
                await ask(b"\xff\xff", metadata=aio.Metadata(("authorization", f"Bearer {token}")))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            answer = await ask(
                encode_request(CertificateRequest(csr())),
                metadata=aio.Metadata(("authorization", f"Bearer {token}")),
            )
            assert len(decode_response(answer)) == 2


async def test_while_there_is_no_ca_callers_are_asked_to_come_back() -> None:
    async with scene() as it:
        token = await it.clusters.token()
        async with it.channel() as channel:
            it.source.signer = None
            with pytest.raises(aio.AioRpcError) as caught:
                await request_certificate(channel, csr(), seconds=0, token=token, cluster=WEST, timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_one_pod_that_asks_too_often_does_not_keep_others_from_asking() -> None:
    async with scene(ServiceLimits(burst=2, per_second=0.01)) as it:
        token = await it.clusters.token(pod="echo-1")
        request = make_csr(new_key(), ECHO.uri)
        for _ in range(2):
            await it.ask(request, token)
        code, _ = await it.refusal(request, token)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        await it.ask(csr(), await it.clusters.token(account="other"))


async def test_a_new_root_is_shown_to_new_connections() -> None:
    async with scene() as it:
        token = await it.clusters.token()
        await it.ask(csr(), token)
        it.source.signer = root_signer(datetime.now(UTC))
        await it.ask(csr(), token)


async def test_garbage_connections_disturb_nobody() -> None:
    async with scene() as it:
        token = await it.clusters.token()

        async def throw_garbage(number: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
            writer.write(bytes([number % 256]) * 2000)
            writer.write_eof()
            try:
                await reader.read()
            except ConnectionError:
                pass
            finally:
                writer.close()

        async with asyncio.timeout(30):
            await asyncio.gather(*map(throw_garbage, range(200)), it.ask(csr(), token))
            await it.ask(csr(), token)


async def test_no_key_token_or_request_reaches_a_log() -> None:
    key = new_key()
    with capture_logs() as logs:
        async with scene() as it:
            token = await it.clusters.token(pod="echo-1")
            await it.ask(make_csr(key, ECHO.uri), token)
            await it.refusal(make_csr(key, ECHO.uri), token, cluster=EAST)
            await it.refusal(csr(subject="x"), token)
            signer = it.source.signer
            assert signer is not None
            hidden = [token, *token.split("."), key_pem(key).decode().splitlines()[1]]
            hidden += key_pem(signer.key).decode().splitlines()[1:2]
    text = repr(logs)
    assert [part for part in hidden if part in text] == []
    assert "CERTIFICATE REQUEST" not in text
