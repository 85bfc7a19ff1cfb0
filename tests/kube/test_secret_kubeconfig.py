import json
from base64 import b64encode
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from isthmus.kube.errors import KubeconfigRefused
from isthmus.kube.secret_kubeconfig import access_from_secret
from tests.kube.pki import issue, make_ca

CA = make_ca()
ME = issue(CA, "reader")
OTHER = issue(CA, "other")
SECRET = "s3cret-t0ken"


def base64(raw: bytes) -> str:
    return b64encode(raw).decode()


def kubeconfig(cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> dict[str, Any]:
    """A good one, with these fields laid over it."""
    place = {"server": "https://203.0.113.7:6443", "certificate-authority-data": base64(CA.cert_pem)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "ctx",
        "contexts": [{"name": "ctx", "context": {"cluster": "west", "user": "reader"}}],
        "clusters": [{"name": "other"}, {"name": "west", "cluster": place | (cluster or {})}],
        "users": [{"name": "reader", "user": {"token": SECRET} if user is None else user}],
    }


def refusal(config: Any) -> KubeconfigRefused:
    with pytest.raises(KubeconfigRefused) as caught:
        access_from_secret(config if isinstance(config, bytes) else yaml.safe_dump(config).encode())
    assert SECRET not in str(caught.value)
    assert "kubectl config view --raw --flatten --minify" in caught.value.remedy
    return caught.value


def test_a_token_and_a_ca_make_an_access_that_shows_no_secret() -> None:
    access = access_from_secret(yaml.safe_dump(kubeconfig({"tls-server-name": "api.west"})).encode())
    assert (access.server, access.token, access.ca_pem) == ("https://203.0.113.7:6443", SECRET, CA.cert_pem)
    assert (access.tls_server_name, access.namespace, access.insecure) == ("api.west", "default", False)
    assert SECRET not in repr(access)


def test_a_client_certificate_and_json_will_do() -> None:
    user = {"client-certificate-data": base64(ME.cert_pem), "client-key-data": base64(ME.key_pem)}
    access = access_from_secret(json.dumps(kubeconfig(user=user)).encode())
    assert (access.client_cert_pem, access.client_key_pem) == (ME.cert_pem, ME.key_pem)
    assert "BEGIN" not in repr(access)


@pytest.mark.parametrize(
    ("user", "field"),
    [
        ({"exec": {"command": "aws"}, "token": SECRET}, "users[0].user.exec"),
        ({"auth-provider": {"name": "gcp"}}, "users[0].user.auth-provider"),
        (
            {"client-certificate": "/etc/x.pem", "client-key": "/etc/y.pem"},
            "users[0].user.client-certificate",
        ),
        ({"client-key": "/etc/y.pem"}, "users[0].user.client-key"),
        ({"tokenFile": "/var/run/token"}, "users[0].user.tokenFile"),
        ({"username": "me", "password": SECRET}, "users[0].user.username"),
        ({"token": SECRET, "as": "admin"}, "users[0].user.as"),
        ({}, "users[0].user.token"),
        ({"token": 5}, "users[0].user.token"),
        ({"token": f"{SECRET}\r\nX-Evil: 1"}, "users[0].user.token"),
        ({"client-certificate-data": base64(ME.cert_pem)}, "users[0].user.client-key-data"),
        ({"client-key-data": base64(ME.key_pem)}, "users[0].user.client-certificate-data"),
        ({"client-certificate-data": f"{SECRET}!"}, "users[0].user.client-certificate-data"),
        ({"client-certificate-data": base64(b"no PEM")}, "users[0].user.client-certificate-data"),
    ],
)
def test_what_a_user_may_not_be_is_refused_by_name(user: dict[str, Any], field: str) -> None:
    assert refusal(kubeconfig(user=user)).field == field


@pytest.mark.parametrize("key", [OTHER.key_pem, ME.encrypted_key_pem, b"-----BEGIN PRIVATE KEY-----"])
def test_a_key_that_cannot_be_used_with_its_certificate_is_refused(key: bytes) -> None:
    user = {"client-certificate-data": base64(ME.cert_pem), "client-key-data": base64(key)}
    error = refusal(kubeconfig(user=user))
    assert error.field == "users[0].user.client-certificate-data" or "PRIVATE KEY" in error.reason


@pytest.mark.parametrize(
    ("cluster", "field"),
    [
        ({"insecure-skip-tls-verify": True}, "clusters[1].cluster.insecure-skip-tls-verify"),
        ({"insecure-skip-tls-verify": "yes"}, "clusters[1].cluster.insecure-skip-tls-verify"),
        ({"certificate-authority": "/etc/ca.pem"}, "clusters[1].cluster.certificate-authority"),
        ({"proxy-url": "http://proxy:3128"}, "clusters[1].cluster.proxy-url"),
        ({"certificate-authority-data": "%%%"}, "clusters[1].cluster.certificate-authority-data"),
        (
            {"certificate-authority-data": base64(b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----")},
            "clusters[1].cluster.certificate-authority-data",
        ),
        ({"server": ""}, "clusters[1].cluster.server"),
        ({"server": "ftp://203.0.113.7"}, "clusters[1].cluster.server"),
        ({"server": "https://"}, "clusters[1].cluster.server"),
        ({"server": "https://[::1"}, "clusters[1].cluster.server"),
        ({"server": "https://host:99999"}, "clusters[1].cluster.server"),
        ({"server": f"https://me:{SECRET}@203.0.113.7"}, "clusters[1].cluster.server"),
        ({"server": "http://203.0.113.7"}, "clusters[1].cluster.server"),
        ({"server": ["https://203.0.113.7"]}, "clusters[1].cluster.server"),
    ],
)
def test_what_a_cluster_may_not_be_is_refused_by_name(cluster: dict[str, Any], field: str) -> None:
    assert refusal(kubeconfig(cluster)).field == field


def test_a_plain_server_without_credentials_is_let_through() -> None:
    config = kubeconfig({"server": "http://127.0.0.1:8001/"}, user={})
    assert access_from_secret(yaml.safe_dump(config).encode()).server == "http://127.0.0.1:8001"


@pytest.mark.parametrize(
    ("spoilt", "field"),
    [
        ({"current-context": None}, "current-context"),
        ({"current-context": "another"}, "contexts"),
        ({"contexts": None}, "contexts"),
        ({"contexts": [{"name": "ctx", "context": {"cluster": "west"}}]}, "contexts[0].context.user"),
        ({"contexts": [{"name": "ctx", "context": "west"}]}, "contexts[0].context"),
        ({"clusters": None}, "contexts[0].context.cluster"),
        ({"clusters": {}}, "clusters"),
        ({"users": []}, "contexts[0].context.user"),
        ({"kind": "Secret"}, "kind"),
    ],
)
def test_what_is_missing_or_misshapen_is_named(spoilt: dict[str, Any], field: str) -> None:
    assert refusal(kubeconfig() | spoilt).field == field


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is no kubeconfig"),
        (b"just text", "is no kubeconfig"),
        (b"a: b: c", "is no YAML (line 1)"),
        (f"token: '{SECRET}\n".encode(), "is no YAML"),
        (b"\x00\x01", "is no YAML"),
        (b"a: 1\n---\nb: 2\n", "is no YAML"),
        (b"a: !!python/object/apply:os.system [id]", "is no YAML"),
        (b"a: &x [1]\nb: [*x, *x]\n", "uses YAML aliases"),
        (b"a: " + b"[" * 100_000, "is nested too deeply"),
        (b"#" * (1 << 20) + b"#", "is larger than 1024 KiB"),
    ],
)
def test_text_that_is_no_kubeconfig_is_refused_as_a_whole(text: bytes, reason: str) -> None:
    error = refusal(text)
    assert (error.field, error.reason[: len(reason)]) == ("", reason)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("west"),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["name", "cluster", "user", "token", "server"]), inner, max_size=3)
    ),
    max_leaves=6,
)
PATHS = st.sampled_from(
    [
        ("contexts",),
        ("clusters",),
        ("users",),
        ("current-context",),
        ("contexts", 0, "context"),
        ("contexts", 0, "context", "cluster"),
        ("clusters", 1, "cluster"),
        ("clusters", 1, "cluster", "server"),
        ("clusters", 1, "cluster", "certificate-authority-data"),
        ("clusters", 1, "cluster", "tls-server-name"),
        ("users", 0),
        ("users", 0, "user"),
        ("users", 0, "user", "token"),
    ]
)


@given(PATHS, VALUES)
def test_any_value_in_any_place_is_used_or_refused(path: tuple[Any, ...], value: Any) -> None:
    config = kubeconfig()
    place: Any = config
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    try:
        access_from_secret(yaml.safe_dump(config).encode())
    except KubeconfigRefused as error:
        assert SECRET not in str(error)  # noqa: PT017 - either outcome is right


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(text: bytes) -> None:
    with pytest.raises(KubeconfigRefused):
        access_from_secret(text)
