"""The agent's request for a certificate, to the control plane's own port."""

from pathlib import Path

import pytest
from cryptography import x509

from isthmus.agent.ca_client import CaClient
from isthmus.agent.certificate import make_csr, new_key, read_certificate
from isthmus.agent.errors import NoCertificateError
from isthmus.lib.address import HostPort
from tests.agent.control_plane import HOST, ControlPlane, serving_control_plane
from tests.agent.pod import free_ports
from tests.ca.clusters import EAST
from tests.ca.making import root_signer


async def refusal(client: CaClient, roots: bytes) -> str:
    with pytest.raises(NoCertificateError) as refused:
        await client.request(make_csr(new_key()), roots)
    return str(refused.value)


def client_of(plane: ControlPlane, token: Path, *, cluster: str = "west", host: str = HOST) -> CaClient:
    return CaClient(HostPort(host, plane.port), cluster, token)


async def test_a_certificate_is_for_whom_the_token_proves_in_each_cluster(tmp_path: Path) -> None:
    token = tmp_path / "token"
    async with serving_control_plane() as plane:
        assert plane.signer is not None
        roots = plane.signer.bundle
        for cluster, text in (
            ("east", await plane.clusters.token(EAST)),
            ("west", await plane.clusters.token()),
            ("", await plane.clusters.token()),
        ):
            token.write_text(f"{text}\n")
            key = new_key()
            client = client_of(plane, token, cluster=cluster)
            answer = await client.request(make_csr(key), roots)
            assert answer.cluster == (cluster or "west")
            certificate = read_certificate(key, answer.certificates)
            leaf = x509.load_pem_x509_certificate(certificate.chain)
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            [uri] = names.get_values_for_type(x509.UniformResourceIdentifier)
            assert uri == "spiffe://cluster.local/ns/demo/sa/echo"


async def test_each_reason_why_there_is_none_is_named_and_none_tells_the_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    async with serving_control_plane() as plane:
        assert plane.signer is not None
        roots = plane.signer.bundle
        assert "holds no token" in await refusal(client_of(plane, token), roots)
        token.write_text("two words")
        assert "holds no token" in await refusal(client_of(plane, token), roots)
        token.write_bytes(b"\xff")
        assert "cannot be read: it is no text" in await refusal(client_of(plane, token), roots)
        wrong = await plane.clusters.token(audience="another")
        token.write_text(wrong)
        said = await refusal(client_of(plane, token), roots)
        assert said.startswith(f"CA {HOST}:{plane.port}: UNAUTHENTICATED: ")
        assert wrong not in said
        token.write_text(await plane.clusters.token())
        said = await refusal(client_of(plane, token, host="127.0.0.1"), roots)
        assert "is not trusted: IP address mismatch" in said
        assert "is not trusted" in await refusal(client_of(plane, token), root_signer().bundle)
        [closed] = free_ports(1)
        nobody = CaClient(HostPort(HOST, closed), "west", token)
        assert "Connect call failed" in await refusal(nobody, roots)
        unknown = CaClient(HostPort("no-such-host.invalid", 15012), "west", token)
        assert (await refusal(unknown, roots)).startswith("CA no-such-host.invalid:15012: ")
