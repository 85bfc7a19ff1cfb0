"""The keys of one lab cluster: its CA, every certificate and kubeconfig, and the service-account key pair.

Everything is ECDSA P-256, made once and then left alone, so that stopping and starting a cluster keeps the
credentials that people copied. It refuses nobody: whoever can read the folder is the cluster.
"""

import base64
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from isthmus.kube.access import Access
from isthmus.lab.plan import ClusterPlan

VALIDITY = timedelta(days=3650)
_BACKDATED = timedelta(hours=1)
_SERVICE_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True, slots=True)
class PkiFiles:
    """Where each file of `CLUSTER_DIR/pki` is, named as kubeadm names them."""

    directory: Path

    @property
    def ca_cert(self) -> Path:
        """The CA that signs all certificates of the cluster, for servers and clients."""
        return self.directory / "ca.crt"

    @property
    def ca_key(self) -> Path:
        """The CA's key."""
        return self.directory / "ca.key"

    @property
    def service_account_key(self) -> Path:
        """The private key that signs service-account tokens."""
        return self.directory / "sa.key"

    @property
    def service_account_public(self) -> Path:
        """The public half of `service_account_key`."""
        return self.directory / "sa.pub"

    def cert(self, name: str) -> Path:
        """The certificate `name`: apiserver, apiserver-kubelet-client, kubelet."""
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        """The key of the certificate `name`."""
        return self.directory / f"{name}.key"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a client certificate says: user name and groups (Kubernetes: common name and organisations)."""

    user: str
    groups: tuple[str, ...] = ()


ADMIN = Identity("kubernetes-admin", ("system:masters",))
CONTROLLERS = Identity("system:kube-controller-manager")
KUBELET_CLIENT = Identity("kube-apiserver-kubelet-client", ("system:masters",))


NODE_AGENT = Identity("isthmus-lab-node", ("system:masters",))
"""The lab's node is kubelet, scheduler, service proxy and DNS in one: no role of Kubernetes allows that."""


def node_identity(node_name: str) -> Identity:
    """Who a kubelet is to those that call it (Kubernetes: Node authorization)."""
    return Identity(f"system:node:{node_name}", ("system:nodes",))


def make_cluster_pki(plan: ClusterPlan, directory: Path | None = None) -> PkiFiles:
    """Make what is missing of a cluster's `pki/` and its three kubeconfigs; safe to call again.

    `kubeconfig` is the administrator's, `controllers.kubeconfig` and `node.kubeconfig` the components'; all
    hold inline data only, have mode 0600, and name cluster, context and user after the cluster.
    """
    folder = plan.directory if directory is None else directory
    addresses = (plan.node_address, plan.service_cidr[1])
    files = make_pki(folder / "pki", cluster=plan.name, node_name=plan.node_name, addresses=addresses)
    for file, identity in (
        ("kubeconfig", ADMIN),
        ("controllers.kubeconfig", CONTROLLERS),
        ("node.kubeconfig", NODE_AGENT),
    ):
        if not (folder / file).exists():
            write_private(folder / file, kubeconfig(files, identity, cluster=plan.name, server=plan.api_url))
    return files


def make_pki(
    directory: Path, *, cluster: str, node_name: str, addresses: Iterable[IPv4Address] = ()
) -> PkiFiles:
    """Make CA, serving certificates (for `addresses` and loopback), kubelet client and SA key, if missing."""
    files = PkiFiles(directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not files.ca_cert.exists():
        _make_ca(files, cluster)
    served = (*_SERVICE_NAMES, "127.0.0.1", *(str(address) for address in addresses))
    if not files.cert("apiserver").exists():
        _write_pair(files, "apiserver", _issue(files, Identity("kube-apiserver"), names=served))
    if not files.cert("kubelet").exists():
        _write_pair(files, "kubelet", _issue(files, node_identity(node_name), names=(node_name, *served)))
    if not files.cert("apiserver-kubelet-client").exists():
        _write_pair(files, "apiserver-kubelet-client", _issue(files, KUBELET_CLIENT))
    if not files.service_account_key.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_private(files.service_account_public, public)
        write_private(files.service_account_key, _key_pem(key))
    return files


def client_pair(files: PkiFiles, identity: Identity) -> tuple[bytes, bytes]:
    """A new client certificate and its key, PEM, signed by the cluster's CA."""
    return _issue(files, identity)


def access(files: PkiFiles, identity: Identity, *, server: str) -> Access:
    """How to reach the server at that URL with a new client certificate of that identity."""
    cert, key = client_pair(files, identity)
    ca = files.ca_cert.read_bytes()
    return Access(server=server, ca_pem=ca, client_cert_pem=cert, client_key_pem=key)


def kubeconfig(files: PkiFiles, identity: Identity, *, cluster: str, server: str) -> bytes:
    """A kubeconfig (YAML) for a new client certificate; cluster, context and user are named `cluster`."""
    cert, key = client_pair(files, identity)
    authority = _inline(files.ca_cert.read_bytes())
    document: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": cluster, "cluster": {"server": server, "certificate-authority-data": authority}}
        ],
        "users": [
            {
                "name": cluster,
                "user": {"client-certificate-data": _inline(cert), "client-key-data": _inline(key)},
            }
        ],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": cluster}}],
        "current-context": cluster,
    }
    return yaml.safe_dump(document, sort_keys=False).encode()


def write_private(path: Path, content: bytes) -> None:
    """Write a file with mode 0600 that no reader ever sees half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    unfinished.replace(path)


def _inline(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _make_ca(files: PkiFiles, cluster: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"kubernetes-ca-{cluster}")])
    certificate = (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(files.ca_key, _key_pem(key))
    write_private(files.ca_cert, certificate.public_bytes(Encoding.PEM))


def _issue(files: PkiFiles, identity: Identity, *, names: Sequence[str] = ()) -> tuple[bytes, bytes]:
    """A certificate for a server of these names, or without any for a client; and its key; PEM."""
    authority = x509.load_pem_x509_certificate(files.ca_cert.read_bytes())
    signer = load_pem_private_key(files.ca_key.read_bytes(), password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in identity.groups]
        + [x509.NameAttribute(NameOID.COMMON_NAME, identity.user)]
    )
    usage = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        _builder(subject, authority.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
        )
    certificate = builder.sign(signer, hashes.SHA256())
    return certificate.public_bytes(Encoding.PEM), _key_pem(key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + VALIDITY)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_pair(files: PkiFiles, name: str, pair: tuple[bytes, bytes]) -> None:
    cert, key = pair
    write_private(files.key(name), key)
    write_private(files.cert(name), cert)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
