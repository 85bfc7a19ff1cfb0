import ssl
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from isthmus.kube.secret_kubeconfig import access_from_secret
from isthmus.lab.pki import Identity, PkiFiles, client_pair, make_cluster_pki
from isthmus.lab.plan import ClusterPlan

PLAN = ClusterPlan("west", 3)


def _certificate(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def _names(certificate: x509.Certificate) -> set[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(one) for one in extension.get_values_for_type(x509.IPAddress)}
    return addresses | set(extension.get_values_for_type(x509.DNSName))


def test_the_api_servers_certificate_names_all_its_addresses(tmp_path: Path) -> None:
    files = make_cluster_pki(PLAN, tmp_path)
    assert _names(_certificate(files.cert("apiserver"))) >= {
        str(PLAN.node_address),
        str(PLAN.service_cidr[1]),
        "127.0.0.1",
        "localhost",
        "kubernetes.default.svc.cluster.local",
    }
    assert {PLAN.node_name, str(PLAN.node_address)} <= _names(_certificate(files.cert("kubelet")))


def test_every_certificate_is_signed_by_the_clusters_ca(tmp_path: Path) -> None:
    files = make_cluster_pki(PLAN, tmp_path)
    authority = _certificate(files.ca_cert)
    for name in ("apiserver", "apiserver-kubelet-client", "kubelet"):
        _certificate(files.cert(name)).verify_directly_issued_by(authority)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.cert(name), files.key(name))


def test_a_client_certificate_says_user_and_groups(tmp_path: Path) -> None:
    files = make_cluster_pki(PLAN, tmp_path)
    cert, _ = client_pair(files, Identity("ann", ("one", "two")))
    subject = x509.load_pem_x509_certificate(cert).subject
    assert [one.value for one in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["ann"]
    organisations = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert [one.value for one in organisations] == ["one", "two"]


def test_kubeconfigs_are_private_inline_and_named_after_the_cluster(tmp_path: Path) -> None:
    make_cluster_pki(PLAN, tmp_path)
    for name in ("kubeconfig", "controllers.kubeconfig", "node.kubeconfig"):
        file = tmp_path / name
        assert file.stat().st_mode & 0o777 == 0o600
        content = yaml.safe_load(file.read_text())
        (context,) = content["contexts"]
        assert context == {"name": "west", "context": {"cluster": "west", "user": "west"}}
        assert content["current-context"] == "west"
        assert access_from_secret(file.read_bytes()).server == PLAN.api_url


def test_keys_are_private_and_of_the_one_kind(tmp_path: Path) -> None:
    files = make_cluster_pki(PLAN, tmp_path)
    for file in files.directory.glob("*.key"):
        assert file.stat().st_mode & 0o777 == 0o600
    public_key = _certificate(files.ca_cert).public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    assert isinstance(public_key.curve, ec.SECP256R1)


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    make_cluster_pki(PLAN, tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert make_cluster_pki(PLAN, tmp_path) == PkiFiles(tmp_path / "pki")
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
