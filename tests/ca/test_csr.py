import base64
import re
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.ca.csr import MOST_BYTES, check_csr
from isthmus.ca.errors import CsrRefused
from isthmus.ca.signer import SigningKey, new_key
from tests.ca.making import ECHO, MESH, csr, p384, uri
from tests.support.ca_client import make_csr

OURS = MESH.uris(ECHO)


def refusal(pem: str) -> CsrRefused:
    with pytest.raises(CsrRefused) as caught:
        check_csr(pem, OURS)
    return caught.value


@pytest.mark.parametrize(
    "key", [new_key(), p384(), rsa.generate_private_key(65537, 2048)], ids=["P-256", "P-384", "RSA"]
)
def test_a_request_for_the_proved_identity_gives_its_key(key: SigningKey) -> None:
    assert check_csr(csr(key, [uri(ECHO.uri)]), OURS) == key.public_key()


def test_a_request_as_our_agent_makes_it_passes() -> None:
    key = new_key()
    assert check_csr(make_csr(key, ECHO.uri), OURS) == key.public_key()


def test_a_request_as_istios_agent_makes_it_passes() -> None:
    """Go writes an organisation without a text into the subject where none is set."""
    key = new_key()
    ours = x509.load_pem_x509_csr(make_csr(key, ECHO.uri).encode()).tbs_certrequest_bytes
    version, nobody = b"\x02\x01\x00", b"\x30\x00"
    rest = ours[ours.index(version + nobody) + 5 :]
    organisation = _der(0x30, bytes.fromhex("060355040a"), _der(0x13))
    info = _der(0x30, version, _der(0x30, _der(0x31, organisation)), rest)
    signature = _der(0x03, b"\0", key.sign(info, ec.ECDSA(SHA256())))
    ecdsa_with_sha256 = _der(0x30, bytes.fromhex("06082a8648ce3d040302"))
    assert check_csr(_pem(_der(0x30, info, ecdsa_with_sha256, signature)), OURS) == key.public_key()


def test_a_request_may_name_nothing_or_an_alias_of_the_trust_domain() -> None:
    check_csr(csr(), OURS)
    check_csr(csr(names=[uri("spiffe://old.example/ns/demo/sa/echo")]), OURS)


def test_usages_of_a_leaf_may_be_asked_for() -> None:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    check_csr(csr(None, (), usage, x509.BasicConstraints(ca=False, path_length=None)), OURS)


def test_another_identity_is_refused_by_name_and_as_foreign() -> None:
    found = refusal(csr(names=[uri("spiffe://cluster.local/ns/demo/sa/admin")]))
    assert found.foreign
    assert "spiffe://cluster.local/ns/demo/sa/admin" in found.reason


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (x509.DNSName("istio-pilot.istio-system.svc"), "DNSName SAN istio-pilot.istio-system.svc"),
        (x509.IPAddress(ip_address("10.0.0.1")), "IPAddress SAN 10.0.0.1"),
        (x509.RFC822Name("a@b.example"), "RFC822Name SAN a@b.example"),
        (uri("https://elsewhere.example"), "https://elsewhere.example"),
    ],
)
def test_an_extra_name_is_refused_by_name(name: x509.GeneralName, shown: str) -> None:
    found = refusal(csr(names=[uri(ECHO.uri), name]))
    assert shown in found.reason
    assert not found.foreign


def test_a_common_name_is_refused() -> None:
    assert "common name" in refusal(csr(subject="admin")).reason


@pytest.mark.parametrize(
    ("extension", "shown"),
    [
        (x509.BasicConstraints(ca=True, path_length=None), "CA:TRUE"),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), "1.2.3.4"),
        (
            x509.KeyUsage(True, False, False, False, False, True, False, False, False),
            "key usage of a CA",
        ),
    ],
)
def test_the_wish_to_be_more_than_a_leaf_is_refused(extension: x509.ExtensionType, shown: str) -> None:
    assert shown in refusal(csr(None, (), extension)).reason


def test_weak_and_unknown_keys_are_refused() -> None:
    assert "1024 bits" in refusal(csr(rsa.generate_private_key(65537, 1024))).reason
    assert "secp256k1" in refusal(csr(ec.generate_private_key(ec.SECP256K1()))).reason
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    request = builder.sign(ed25519.Ed25519PrivateKey.generate(), None)
    assert "neither ECDSA" in refusal(request.public_bytes(Encoding.PEM).decode()).reason


def test_a_request_signed_by_another_key_is_refused() -> None:
    mine = x509.load_pem_x509_csr(csr().encode()).public_bytes(Encoding.DER)
    other = x509.load_pem_x509_csr(csr().encode())
    signature = x509.load_pem_x509_csr(csr().encode()).signature
    forged = mine[: -len(signature)] + other.signature[: len(signature)]
    pem = _pem(forged)
    assert re.search("signature|no PEM", refusal(pem).reason)


def test_oversized_and_repeated_requests_are_refused() -> None:
    assert str(MOST_BYTES) in refusal(csr() + " " * MOST_BYTES).reason
    assert "several" in refusal(csr() + csr()).reason


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_never_repeated(garbage: bytes) -> None:
    for pem in (garbage.decode("latin1"), _pem(garbage)):
        assert refusal(pem).reason == "it is no PEM certificate request"


GOOD = x509.load_pem_x509_csr(csr(names=[uri(ECHO.uri)]).encode()).public_bytes(Encoding.DER)


@settings(deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_changes_nothing_that_counts(at: int, byte: int) -> None:
    changed = bytearray(GOOD)
    changed[at] = byte
    if bytes(changed) == GOOD:
        return
    with pytest.raises(CsrRefused):
        check_csr(_pem(bytes(changed)), OURS)


def _der(tag: int, *parts: bytes) -> bytes:
    """One element of DER."""
    body = b"".join(parts)
    match len(body):
        case short if short < 128:
            length = bytes([short])
        case middling if middling < 256:
            length = bytes([0x81, middling])
        case long:
            length = b"\x82" + long.to_bytes(2)
    return bytes([tag]) + length + body


def _pem(der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"
