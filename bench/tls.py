"""TLS for the benchmark: certificates in a folder, `roots.pem`, `chain.pem` and `key.pem`, and their use.

The proxies prove who they are as sidecars do: by a certificate under pilot's root, all by the same one, for
the service account that all of their Pods run as. The floor has a CA of its own, and asks as much of its
clients.
"""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.cluster import NAMESPACE
from isthmus.ca.material import OWN_CA, read_signer
from isthmus.ca.signer import Signer, new_key, new_root, pem_of
from isthmus.kube.client import Client
from isthmus.kube.kinds import SECRET, untyped
from isthmus.model.identity import spiffe_id

POD = untyped("", "v1", "pods", "Pod")
_AT_ONCE = 16


def client_context(folder: Path) -> ssl.SSLContext:
    """What a proxy dials with: it trusts the folder's roots, whatever the server is called."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(folder / "roots.pem")
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    context.set_alpn_protocols(["h2"])
    return context


def server_credentials(folder: Path) -> grpc.ServerCredentials:
    """What the floor serves with; like pilot it verifies its clients' certificates."""
    roots, chain, key = (folder / f"{name}.pem" for name in ("roots", "chain", "key"))
    pair = (key.read_bytes(), chain.read_bytes())
    return grpc.ssl_server_credentials([pair], roots.read_bytes(), require_client_auth=True)


def make_floor(folder: Path) -> None:
    """A CA, and a certificate that is good for the floor and for its clients."""
    now, day, root_key, key = datetime.now(UTC), timedelta(days=1), new_key(), new_key()
    root = new_root(root_key, organization="bench", life=day, now=now)
    signer = Signer(root, root_key, (), (root,))
    leaf = signer.issue("spiffe://bench", key.public_key(), life=day, skew=day, now=now)
    _write(folder, pem_of([root]), pem_of([leaf]), key)


async def admit(client: Client, proxies: int, folder: Path) -> None:
    """Pods for so many proxies, and a certificate for all of them, by the CA in pilot's Secret."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def pod(index: int) -> None:
        spec = {"serviceAccountName": "proxy", "containers": [{"name": "proxy", "image": "proxy"}]}
        async with gate:
            await client.create(POD, {"metadata": {"name": f"proxy-{index}"}, "spec": spec}, NAMESPACE)

    await asyncio.gather(*(pod(index) for index in range(proxies)))
    now, day, key = datetime.now(UTC), timedelta(days=1), new_key()
    secret = await client.get(SECRET, OWN_CA, "istio-system")
    signer = read_signer(OWN_CA, secret.data, now)
    identity = spiffe_id("cluster.local", NAMESPACE, "proxy")
    leaf = signer.issue(identity, key.public_key(), life=day, skew=day, now=now)
    _write(folder, signer.bundle, pem_of([leaf]), key)


def _write(folder: Path, roots: bytes, chain: bytes, key: ec.EllipticCurvePrivateKey) -> None:
    folder.mkdir()
    (folder / "roots.pem").write_bytes(roots)
    (folder / "chain.pem").write_bytes(chain)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(pem)
