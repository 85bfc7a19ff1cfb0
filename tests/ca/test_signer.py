from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from isthmus.ca.material import read_signer
from isthmus.ca.signer import Signer, new_key, new_root
from tests.ca.making import ECHO, NOW, material, p384, root_signer, uri

HOUR = timedelta(hours=1)
SKEW = timedelta(minutes=2)


def issue(signer: Signer, life: timedelta = HOUR) -> x509.Certificate:
    return signer.issue(ECHO.uri, new_key().public_key(), life=life, skew=SKEW, now=NOW)


def test_a_workloads_certificate_is_an_x509_svid() -> None:
    leaf = issue(root_signer())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert list(names.value) == [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/demo/sa/echo")]
    assert leaf.subject == x509.Name([])
    assert (leaf.not_valid_before_utc, leaf.not_valid_after_utc) == (NOW - SKEW, NOW + HOUR)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    key_usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert key_usage.digital_signature
    assert not key_usage.key_cert_sign


def test_certificates_of_every_kind_of_ca_verify_to_its_root() -> None:
    key = p384()
    root = new_root(key, organization="x", life=timedelta(days=9), now=NOW)
    large = rsa.generate_private_key(65537, 2048)
    for signer in (
        root_signer(),
        Signer(root, key, (), (root,)),
        read_signer("ns/cacerts", material(), NOW),
    ):
        rsa_leaf = signer.issue(ECHO.uri, large.public_key(), life=HOUR, skew=SKEW, now=NOW)
        for leaf in (issue(signer), rsa_leaf):
            verifier = PolicyBuilder().store(Store(list(signer.roots))).time(NOW).build_client_verifier()
            assert verifier.verify(leaf, list(signer.chain)).subjects == [uri(ECHO.uri)]


def test_no_certificate_outlasts_its_ca() -> None:
    signer = root_signer(life=timedelta(days=2))
    assert issue(signer, timedelta(days=7)).not_valid_after_utc == NOW + timedelta(days=2) == signer.ends


def test_serial_numbers_are_random_and_roots_have_names_of_their_own() -> None:
    signer = root_signer()
    serials = {issue(signer).serial_number for _ in range(20)}
    assert len(serials) == 20
    assert max(serials).bit_length() > 100
    assert root_signer().certificate.subject != root_signer().certificate.subject


def test_a_servers_certificate_names_hosts_and_is_no_clients() -> None:
    leaf = root_signer().issue_serving(
        ["istiod.x.svc"], new_key().public_key(), life=HOUR, skew=SKEW, now=NOW
    )
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["istiod.x.svc"]
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_a_signer_never_shows_its_key() -> None:
    assert "Private" not in repr(root_signer())
