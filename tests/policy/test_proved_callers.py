"""The policy server's own certificate, and which callers it answers by mutual TLS."""

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from isthmus.agent.certificate import Certificate, make_csr, new_key, read_certificate
from isthmus.agent.errors import CallRefusedError
from isthmus.agent.grpc_call import Call, make_call
from isthmus.agent.identity import running_identity
from isthmus.apps.policy_identity import Shown, proving_member
from isthmus.ca.issuing import issue_certificate
from isthmus.ca.messages import CertificateRequest
from isthmus.ca.signer import Lifetimes, Signer
from isthmus.lib.tls import load_pair
from isthmus.model.identity import Identity, TrustDomain
from isthmus.policy.checks import METHOD
from isthmus.policy.server import Secure, ServerLimits, serving_policy
from tests.agent.small_ca import SmallCa
from tests.ca.making import root_signer
from tests.policy.building import DENY, check_request, checks, policy, rulebook
from tests.policy.serving import LOOPBACK

MESH = TrustDomain("cluster.local", ("old.example",))


@asynccontextmanager
async def serving(ca: SmallCa, roots: Path) -> AsyncGenerator[int]:
    shown, service = Shown(), checks(rulebook(policy(DENY)))
    async with running_identity(roots, ca.ask, shown.take):
        async with asyncio.timeout(10):
            await shown.ready.wait()
        secure = Secure(shown.credentials(), proving_member(MESH))
        limits = ServerLimits(grace=0.0)
        async with serving_policy(LOOPBACK, service.methods(), limits, secure=secure) as port:
            yield port


def certificate_of(signer: Signer, domain: str) -> Certificate:
    """A workload's, of whatever trust domain, under this root."""
    key = new_key()
    chain = issue_certificate(
        CertificateRequest(make_csr(key), 3600),
        Identity(domain, "demo", "client"),
        signer,
        trust_domain=TrustDomain(domain),
        lifetimes=Lifetimes(),
        now=datetime.now(UTC),
    )
    return read_certificate(key, list(chain))


async def ask(port: int, trusted: Signer, shown: Certificate | None) -> bytes:
    """A check over TLS, answered by a server under `trusted`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=trusted.bundle.decode())
    context.set_alpn_protocols(["h2"])
    if shown is not None:
        load_pair(context, shown.chain, shown.key)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        async with asyncio.timeout(10):
            return await make_call(reader, writer, Call(METHOD, "policy", check_request(), scheme="https"))
    finally:
        writer.close()


async def test_only_members_of_the_mesh_are_answered_and_new_roots_and_certificates_come_into_use(
    tmp_path: Path,
) -> None:
    first, second = root_signer(datetime.now(UTC)), root_signer(datetime.now(UTC))
    ca, roots = SmallCa(time.time, signer=first), tmp_path / "root-cert.pem"
    roots.write_bytes(first.bundle)
    async with serving(ca, roots) as port:
        for domain in ("cluster.local", "old.example"):
            assert b"demo/guard/rule-0" in await ask(port, first, certificate_of(first, domain))
        with pytest.raises(CallRefusedError, match="only proxies of the mesh"):
            await ask(port, first, certificate_of(first, "elsewhere.example"))
        for stranger in (None, certificate_of(second, "cluster.local")):
            with pytest.raises((OSError, EOFError)):
                await ask(port, first, stranger)
        ca.signer = second
        fresh = tmp_path / "fresh"
        fresh.write_bytes(second.bundle)
        fresh.replace(roots)
        await asyncio.wait_for(until_answered(port, second), 20)
        with pytest.raises((OSError, EOFError)):
            await ask(port, second, certificate_of(first, "cluster.local"))


async def until_answered(port: int, signer: Signer) -> None:
    own = certificate_of(signer, "cluster.local")
    while True:
        try:
            await ask(port, signer, own)
            return
        except (OSError, EOFError):
            await asyncio.sleep(0.1)
