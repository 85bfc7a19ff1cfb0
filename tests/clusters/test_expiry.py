"""The end of credentials, from certificates and tokens as they come."""

import base64
import json

import pytest

from isthmus.clusters.expiry import expiry_of
from isthmus.kube.access import Access
from tests.kube.pki import issue, make_ca

URL = "https://east.test"


def token(**claims: object) -> str:
    parts = ({"alg": "RS256"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "signature"])


def test_a_token_ends_when_it_says():
    assert expiry_of(Access(URL, token=token(exp=1_900_000_000))) == 1_900_000_000


def test_a_certificate_ends_when_it_says_and_the_first_end_counts():
    pair = issue(make_ca(), "reader")
    end = pair.certificate.not_valid_after_utc.timestamp()
    assert expiry_of(Access(URL, client_cert_pem=pair.cert_pem)) == end
    assert expiry_of(Access(URL, client_cert_pem=pair.cert_pem, token=token(exp=1000))) == 1000


@pytest.mark.parametrize("text", ["opaque", "a.b.c", "a.!!!.c", token(), token(exp="soon"), "a.e30.c", "..é"])
def test_what_does_not_say_has_no_known_end(text: str):
    assert expiry_of(Access(URL, token=text, client_cert_pem=b"no certificate")) is None
