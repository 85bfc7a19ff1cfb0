"""`python -m bench.ca [--seconds N]`: what signing costs beside bare `cryptography`, as JSON.

Three things do the same work, one certificate for one request, in turns of one run: `bare` is the least that
any signer must do with `cryptography` (read the request, check its signature, sign a leaf, write PEM);
`issuing` is the whole path without a network; `service` adds gRPC over TLS on loopback, its clients in the
same process, each asking again as soon as it is answered, on a new connection after some calls. Times are
milliseconds.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import jwt
import msgspec
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from grpc import aio
from tests.support.ca_client import make_csr, request_certificate

from isthmus.apps.callers import certifying, proving
from isthmus.ca.authentication import Authenticator
from isthmus.ca.issuing import issue_certificate
from isthmus.ca.messages import METHOD, CertificateRequest, decode_request, encode_request, encode_response
from isthmus.ca.service import CertificateService, ServiceLimits
from isthmus.ca.serving import ServingCertificate
from isthmus.ca.signer import Lifetimes, Signer, new_key, new_root
from isthmus.model.identity import Identity, TrustDomain
from isthmus.model.service import ClusterId
from isthmus.xds.grpc_server import serving_grpc
from isthmus.xds.grpc_unary import answering

HOST = "istio-pilot.istio-system.svc"
ECHO = Identity("cluster.local", "demo", "echo")
MESH = TrustDomain("cluster.local")
LIFETIMES = Lifetimes()
WEST = ClusterId("west")
TURNS = 5
CLIENTS = 8
CALLS = 100
"""On one connection; of more than thirty a second for ever the listener thinks ill."""


class Source:
    """A CA that stays as it is."""

    def __init__(self) -> None:
        key = new_key()
        root = new_root(key, organization="bench", life=timedelta(days=1), now=datetime.now(UTC))
        self.signer = Signer(root, key, (), (root,))


class Reviewer:
    """A cluster that accepts every token at once: its time is not ours."""

    async def request(self, method: str, path: str, *, body: Any = None) -> bytes:
        user = {"username": "system:serviceaccount:demo:echo", "groups": ["system:serviceaccounts"]}
        return msgspec.json.encode(
            {"status": {"authenticated": True, "user": user, "audiences": ["istio-ca"]}}
        )


def bare(signer: Signer, csr: str) -> bytes:
    """The least work."""
    request = x509.load_pem_x509_csr(csr.encode())
    assert request.is_signature_valid
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(ECHO.uri)])
    leaf = (
        x509.CertificateBuilder(signer.certificate.subject, x509.Name([]))
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + LIFETIMES.default)
        .add_extension(names, critical=True)
        .sign(signer.key, SHA256())
    )
    return leaf.public_bytes(Encoding.PEM) + signer.certificate.public_bytes(Encoding.PEM)


def issuing(signer: Signer, message: bytes) -> bytes:
    """All of ours but the network and the proof."""
    chain = issue_certificate(
        decode_request(message), ECHO, signer, trust_domain=MESH, lifetimes=LIFETIMES, now=datetime.now(UTC)
    )
    return encode_response(chain)


def timed(work: Callable[[], object], seconds: float) -> list[float]:
    """Milliseconds of each call, over so many seconds."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        work()
        taken.append((time.perf_counter() - began) * 1e3)
    return taken


@asynccontextmanager
async def served(source: Source) -> AsyncGenerator[int]:
    unlimited = ServiceLimits(burst=1_000_000, per_second=1_000_000)
    judge = Authenticator(MESH, {WEST: Reviewer()}, home=WEST)
    service = CertificateService(source, MESH, LIFETIMES, limits=unlimited)
    context = ServingCertificate(source, [HOST], LIFETIMES).server_context()
    async with (
        answering(certifying(service)) as handler,
        serving_grpc(
            "127.0.0.1:0", {METHOD: handler}, ssl_context=context, authenticate=proving(judge)
        ) as port,
    ):
        yield port


async def asked(port: int, source: Source, csr: str, seconds: float) -> tuple[list[float], float]:
    """Milliseconds of each call by clients that never pause, and calls a second by all of them."""
    token = jwt.encode({"aud": "istio-ca", "exp": time.time() + 3600}, "x" * 32, algorithm="HS256")
    taken: list[float] = []

    credentials = grpc.ssl_channel_credentials(source.signer.bundle)
    options = (("grpc.ssl_target_name_override", HOST), ("grpc.use_local_subchannel_pool", 1))

    async def ask(end: float) -> None:
        while time.perf_counter() < end:
            async with aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
                for _ in range(CALLS):
                    began = time.perf_counter()
                    await request_certificate(channel, csr, seconds=0, token=token, cluster=WEST, timeout=10)
                    taken.append((time.perf_counter() - began) * 1e3)
                    if time.perf_counter() > end:
                        break

    began = time.perf_counter()
    await asyncio.gather(*(ask(began + seconds) for _ in range(CLIENTS)))
    return taken, len(taken) / (time.perf_counter() - began)


def described(taken: list[float], rate: float | None = None) -> dict[str, float]:
    percentiles = statistics.quantiles(taken, n=100)
    return {
        "per_second": round(rate or 1e3 * len(taken) / sum(taken), 1),
        "median_ms": round(percentiles[49], 3),
        "p99_ms": round(percentiles[98], 3),
    }


async def measure(seconds: float) -> dict[str, object]:
    source = Source()
    csr = make_csr(new_key(), ECHO.uri)
    message = encode_request(CertificateRequest(csr))
    least: list[float] = []
    whole: list[float] = []
    for _ in range(TURNS):
        least += timed(lambda: bare(source.signer, csr), seconds / TURNS)
        whole += timed(lambda: issuing(source.signer, message), seconds / TURNS)
    async with served(source) as port:
        calls, rate = await asked(port, source, csr, seconds)
    figures = {"bare": described(least), "issuing": described(whole), "service": described(calls, rate)}
    return {
        **figures,
        "clients": CLIENTS,
        "ratio": {
            "issuing_time": round(figures["issuing"]["median_ms"] / figures["bare"]["median_ms"], 2),
            "service_rate": round(figures["service"]["per_second"] / figures["bare"]["per_second"], 3),
        },
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each of the three")
    arguments = parser.parse_args()
    print(json.dumps(uvloop.run(measure(arguments.seconds)), indent=2))
