from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.ca.errors import MaterialRefused
from isthmus.ca.material import CA_CERT, CA_KEY, CERT_CHAIN, ROOT_CERT, read_signer
from isthmus.ca.signer import Signer, new_key, pem_of
from tests.ca.making import NOW, certificate, key_pem, material, root_signer

SECRET = "istio-system/cacerts"


def refusal(data: dict[str, bytes], after: timedelta = timedelta()) -> str:
    with pytest.raises(MaterialRefused) as caught:
        read_signer(SECRET, data, NOW + after)
    return str(caught.value)


def own(signer: Signer) -> dict[str, bytes]:
    return {CA_CERT: pem_of([signer.certificate]), CA_KEY: key_pem(signer.key)}


def test_an_intermediate_under_its_root_is_read_with_its_chain() -> None:
    signer = read_signer(SECRET, material(), NOW)
    assert len(signer.chain) == 1
    assert signer.chain[0] == signer.certificate
    assert len(signer.roots) == 1


def test_a_root_by_itself_is_read_as_istio_wrote_it() -> None:
    made = root_signer()
    assert read_signer(SECRET, own(made) | {ROOT_CERT: b"", CERT_CHAIN: b""}, NOW) == made


def test_two_intermediates_are_put_in_order_whatever_theirs_was() -> None:
    root = root_signer()
    upper = Signer(certificate("upper", key := new_key(), root), key, (), ())
    lower_key = new_key()
    lower = certificate("lower", lower_key, upper)
    data = {
        CA_CERT: pem_of([lower]),
        CA_KEY: key_pem(lower_key),
        ROOT_CERT: pem_of([root_signer().certificate, root.certificate]),
        CERT_CHAIN: pem_of([root.certificate, upper.certificate, lower]),
    }
    signer = read_signer(SECRET, data, NOW)
    assert signer.chain == (lower, upper.certificate)
    assert signer.roots[0] == root.certificate
    assert len(signer.roots) == 2


def as_tls(data: dict[str, bytes]) -> dict[str, bytes]:
    """The same as a Secret of type kubernetes.io/tls."""
    return {"tls.crt": data[CA_CERT], "tls.key": data[CA_KEY], "ca.crt": data[ROOT_CERT]}


def test_a_secret_of_type_tls_is_read_as_istio_reads_it() -> None:
    data = material()
    assert read_signer(SECRET, as_tls(data), NOW) == read_signer(SECRET, data, NOW)
    own_root = own(made := root_signer())
    assert read_signer(SECRET, {"tls.crt": own_root[CA_CERT], "tls.key": own_root[CA_KEY]}, NOW) == made
    upper = Signer(certificate("upper", key := new_key(), root := root_signer()), key, (), ())
    lower = certificate("lower", lower_key := new_key(), upper)
    chained = {
        "tls.crt": pem_of([lower, upper.certificate]),
        "tls.key": key_pem(lower_key),
        "ca.crt": root.bundle,
    }
    assert read_signer(SECRET, chained, NOW).chain == (lower, upper.certificate)
    found = refusal(as_tls(data) | {"tls.key": key_pem(new_key())})
    assert found == f"Secret {SECRET}, key tls.key: it is not the key of the certificate in tls.crt"
    found = refusal({**as_tls(data), "ca.crt": root_signer().bundle})
    assert "key tls.crt: nothing in it or in ca.crt has signed CN=intermediate" in found


@pytest.mark.parametrize("key", [CA_CERT, CA_KEY])
@pytest.mark.parametrize("text", [None, b"", b" \n", b"nonsense"])
def test_a_missing_or_unreadable_key_is_named(key: str, text: bytes | None) -> None:
    data = {name: content for name, content in material().items() if name != key}
    if text is not None:
        data[key] = text
    assert refusal(data).startswith(f"Secret istio-system/cacerts, key {key}: it ")


def test_the_key_of_another_certificate_is_refused() -> None:
    found = refusal(material() | {CA_KEY: key_pem(new_key())})
    assert "not the key of the certificate in ca-cert.pem" in found


def test_a_chain_that_reaches_no_root_is_refused_by_the_subject_where_it_breaks() -> None:
    found = refusal(material() | {ROOT_CERT: pem_of([root_signer().certificate]), CERT_CHAIN: b""})
    assert "key root-cert.pem" in found
    assert "CN=intermediate" in found


def test_a_certificate_that_is_no_ca_is_refused() -> None:
    root, key = root_signer(), new_key()
    leaf = certificate("leaf", key, root, ca=False)
    data = {CA_CERT: pem_of([leaf]), CA_KEY: key_pem(key), ROOT_CERT: root.bundle}
    found = refusal(data)
    assert found.startswith("Secret istio-system/cacerts, key ca-cert.pem: CN=leaf is no CA certificate")


def test_expired_and_future_certificates_are_refused_by_their_time() -> None:
    assert "CN=intermediate expired at 2026-04-01" in refusal(
        material(life=timedelta(days=31)), timedelta(days=32)
    )
    assert "is not valid before 2026-03-01" in refusal(material(), -timedelta(hours=1))


def test_weak_and_locked_keys_are_refused() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    odd = ec.generate_private_key(ec.SECP256K1())
    for key in (weak, odd):
        assert "RSA of at least 2048" in refusal(material() | {CA_KEY: key_pem(key)})
    locked = new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    assert "without a passphrase" in refusal(material() | {CA_KEY: locked})


GOOD = material(key=new_key())


@settings(deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.binary(max_size=64), st.integers(0, 2000))
def test_whatever_is_written_into_a_secret_is_refused_or_right_and_never_repeated(
    key: str, garbage: bytes, at: int
) -> None:
    text = GOOD[key][:at] + garbage + GOOD[key][at + len(garbage) :]
    found = ""
    try:
        signer = read_signer(SECRET, GOOD | {key: text}, NOW)
        assert signer.key.public_key() == signer.certificate.public_key()
    except MaterialRefused as error:
        found = str(error)
    assert "PRIVATE KEY" not in found
