import base64
import time
from pathlib import Path

import pytest

from isthmus.lab.apiserver import kinds, subresources
from isthmus.lab.apiserver.authn import user_of_certificate
from isthmus.lab.apiserver.cluster import Cluster
from isthmus.lab.apiserver.errors import RefusedError
from isthmus.lab.apiserver.objects import Object, encode
from isthmus.lab.apiserver.tokens import BadTokenError, TokenSigner, legacy_claims
from isthmus.lab.pki import PkiFiles, make_pki
from tests.lab.apiserver.building import create, create_pod, target


def _signer(files: PkiFiles) -> TokenSigner:
    return TokenSigner.load(files.service_account_key)


def _token(cluster: Cluster, **spec: object) -> str:
    request: Object = {"spec": spec}
    issued = subresources.request_token(cluster, target(kinds.SERVICE_ACCOUNTS, "default"), request)
    return issued["status"]["token"]


def test_a_token_is_what_was_signed_until_its_time_is_over(pki_files: PkiFiles) -> None:
    signer = _signer(pki_files)
    token = signer.sign({"sub": "x", "nbf": 100, "exp": 200})
    assert signer.verify(token, now=150)["sub"] == "x"
    for moment in (99, 200):
        with pytest.raises(BadTokenError):
            signer.verify(token, now=moment)


def test_forged_and_foreign_tokens_are_refused(pki_files: PkiFiles, tmp_path: Path) -> None:
    signer = _signer(pki_files)
    header, claims, signature = signer.sign({"sub": "x"}).split(".")
    forged = base64.urlsafe_b64encode(encode({"sub": "y"})).decode().rstrip("=")
    unsigned = base64.urlsafe_b64encode(encode({"alg": "none"})).decode().rstrip("=")
    foreign = _signer(make_pki(tmp_path, cluster="other", node_name="n")).sign({"sub": "x"})
    for token in (
        f"{header}.{forged}.{signature}",
        f"{unsigned}.{claims}.",
        f"{header}.{claims}.{signature[:-4]}",
        foreign,
        "..",
        "x",
        "",
    ):
        with pytest.raises(BadTokenError):
            signer.verify(token, now=0)


def test_the_key_set_names_the_key_of_the_tokens(pki_files: PkiFiles) -> None:
    signer = _signer(pki_files)
    (key,) = signer.key_set()["keys"]
    assert (key["kty"], key["crv"], key["alg"]) == ("EC", "P-256", "ES256")
    assert key["kid"] == signer.key_id


def test_a_pods_token_says_which_pod_and_ends_with_it(cluster: Cluster) -> None:
    pod = create_pod(cluster, "one", nodeName="test-node")
    token = _token(cluster, boundObjectRef={"apiVersion": "v1", "kind": "Pod", "name": "one"})
    user, _ = cluster.authenticator.authenticate(token)
    assert user.name == "system:serviceaccount:default:default"
    assert "system:serviceaccounts:default" in user.groups
    assert user.extra["authentication.kubernetes.io/pod-name"] == ["one"]
    assert user.extra["authentication.kubernetes.io/pod-uid"] == [pod["metadata"]["uid"]]
    assert user.extra["authentication.kubernetes.io/node-name"] == ["test-node"]
    cluster.store.commit(kinds.PODS, target(kinds.PODS, "one").key, None)
    with pytest.raises(BadTokenError, match="pod is gone"):
        cluster.authenticator.authenticate(token)


def test_an_account_that_was_made_anew_is_another(cluster: Cluster) -> None:
    create(cluster, kinds.SERVICE_ACCOUNTS, "default")
    token = _token(cluster)
    cluster.store.commit(kinds.SERVICE_ACCOUNTS, target(kinds.SERVICE_ACCOUNTS, "default").key, None)
    create(cluster, kinds.SERVICE_ACCOUNTS, "default")
    with pytest.raises(BadTokenError, match="serviceaccount is gone"):
        cluster.authenticator.authenticate(token)


def test_a_token_for_another_audience_is_not_for_this_server(cluster: Cluster) -> None:
    create(cluster, kinds.SERVICE_ACCOUNTS, "default")
    token = _token(cluster, audiences=["istio-ca"])
    with pytest.raises(BadTokenError, match="audience"):
        cluster.authenticator.authenticate(token)
    assert cluster.authenticator.authenticate(token, ["istio-ca", "other"])[1] == ["istio-ca"]


def test_a_token_lives_ten_minutes_at_least(cluster: Cluster) -> None:
    create(cluster, kinds.SERVICE_ACCOUNTS, "default")
    with pytest.raises(RefusedError, match="may not specify a duration less than 10 minutes"):
        _token(cluster, expirationSeconds=60)


def test_a_pod_of_another_account_binds_no_token(cluster: Cluster) -> None:
    create(cluster, kinds.SERVICE_ACCOUNTS, "other")
    create_pod(cluster, "one", serviceAccountName="other")
    with pytest.raises(RefusedError, match="different serviceaccount name"):
        _token(cluster, boundObjectRef={"apiVersion": "v1", "kind": "Pod", "name": "one"})


def test_a_secrets_token_holds_for_as_long_as_the_secret_has_it(cluster: Cluster) -> None:
    account = create(cluster, kinds.SERVICE_ACCOUNTS, "robot")
    token = cluster.signer.sign(legacy_claims(namespace="default", account=account, secret_name="robot"))
    with pytest.raises(BadTokenError, match="secret is gone"):
        cluster.authenticator.authenticate(token)
    create(
        cluster,
        kinds.SECRETS,
        "robot",
        type="kubernetes.io/service-account-token",
        metadata={"annotations": {"kubernetes.io/service-account.name": "robot"}},
        stringData={"token": token},
    )
    assert cluster.authenticator.authenticate(token)[0].name == "system:serviceaccount:default:robot"


def test_the_clock_decides_about_a_token(cluster: Cluster) -> None:
    create(cluster, kinds.SERVICE_ACCOUNTS, "default")
    claims = cluster.signer.verify(_token(cluster, expirationSeconds=600), now=time.time())
    assert claims["exp"] - claims["iat"] == 600


def test_a_certificate_gives_user_and_groups() -> None:
    subject = ((("organizationName", "a"),), (("organizationName", "b"),), (("commonName", "ann"),))
    user = user_of_certificate({"subject": subject})
    assert (user.name, user.groups) == ("ann", ("a", "b", "system:authenticated"))
