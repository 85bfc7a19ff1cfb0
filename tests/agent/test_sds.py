"""What Envoy asks of the agent's SDS, as a dialogue in its own messages."""

import os
import socket
import stat
from pathlib import Path

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from structlog.testing import capture_logs

from isthmus.agent.sds import (
    CERTIFICATE,
    ROOTS,
    Secrets,
    SecretStream,
    certificate_secret,
    roots_secret,
    secret_socket,
)
from isthmus.lib.errors import UserError

TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


class Dialogue:
    """One stream, with both of its ends written down."""

    def __init__(self, secrets: Secrets) -> None:
        self.wakes = 0
        self.ended: list[str] = []
        self.stream: SecretStream = secrets.stream(self._wake, self.ended.append)

    def _wake(self) -> None:
        self.wakes += 1

    def ask(self, *names: str, nonce: str = "", error: str = "") -> None:
        request = DiscoveryRequest(type_url=TYPE, resource_names=names, response_nonce=nonce)
        request.node.id = "sidecar~10.0.0.1~p.ns~ns.svc.cluster.local"
        if error:
            request.error_detail.message = error
        self.stream.receive(request.SerializeToString())

    def hear(self) -> tuple[str, dict[str, Secret]] | None:
        """Nonce and secrets of the next response."""
        data = self.stream.take()
        if data is None:
            return None
        response = DiscoveryResponse.FromString(data)
        assert response.type_url == TYPE
        assert response.version_info == response.nonce
        found = [Secret.FromString(each.value) for each in response.resources]
        assert all(each.type_url == TYPE for each in response.resources)
        return response.nonce, {secret.name: secret for secret in found}


def test_a_secret_that_is_not_there_yet_is_waited_for_and_sent_when_it_is() -> None:
    secrets = Secrets()
    it = Dialogue(secrets)
    it.ask(CERTIFICATE)
    assert it.hear() is None
    secrets.put(CERTIFICATE, certificate_secret(b"key", b"chain"))
    heard = it.hear()
    assert heard is not None
    tls = heard[1]["default"].tls_certificate
    assert (tls.private_key.inline_bytes, tls.certificate_chain.inline_bytes) == (b"key", b"chain")
    it.ask(CERTIFICATE, nonce=heard[0])
    assert it.hear() is None


def test_a_change_goes_to_those_who_follow_it_and_the_same_again_to_nobody() -> None:
    secrets = Secrets()
    secrets.put(ROOTS, roots_secret(b"one"))
    roots, certificate = Dialogue(secrets), Dialogue(secrets)
    roots.ask(ROOTS)
    certificate.ask(CERTIFICATE)
    assert roots.hear() is not None
    roots.ask(ROOTS, nonce="1")
    wakes = roots.wakes
    secrets.put(ROOTS, roots_secret(b"one"))
    assert roots.wakes == wakes
    secrets.put(ROOTS, roots_secret(b"two"))
    assert roots.wakes == wakes + 1
    heard = roots.hear()
    assert heard is not None
    assert heard[1]["ROOTCA"].validation_context.trusted_ca.inline_bytes == b"two"
    assert certificate.hear() is None


def test_a_stream_may_follow_both_and_change_what_it_follows() -> None:
    secrets = Secrets()
    secrets.put(ROOTS, roots_secret(b"roots"))
    secrets.put(CERTIFICATE, certificate_secret(b"key", b"chain"))
    it = Dialogue(secrets)
    it.ask(CERTIFICATE, ROOTS)
    heard = it.hear()
    assert heard is not None
    assert heard[1].keys() == {"default", "ROOTCA"}
    it.ask(ROOTS, nonce=heard[0])
    again = it.hear()
    assert again is not None
    assert again[1].keys() == {"ROOTCA"}
    it.ask(CERTIFICATE, nonce=heard[0])
    assert it.hear() is None, "that answers what was replaced since"


def test_a_refused_secret_is_logged_without_its_content_and_not_sent_again() -> None:
    secrets = Secrets()
    secrets.put(CERTIFICATE, certificate_secret(b"a key", b"chain"))
    it = Dialogue(secrets)
    it.ask(CERTIFICATE)
    assert it.hear() is not None
    with capture_logs() as logs:
        it.ask(CERTIFICATE, nonce="1", error="no valid chain")
    assert it.hear() is None
    assert secrets.rejected == 1
    assert logs[0]["reason"] == "no valid chain"
    assert "a key" not in str(logs)


def test_what_is_no_request_ends_the_stream_and_an_end_forgets_it() -> None:
    secrets = Secrets()
    it = Dialogue(secrets)
    it.stream.receive(b"\x0a\x7f")
    it.stream.half_closed()
    assert it.ended[0].startswith("this is no DiscoveryRequest")
    assert it.ended[1] == ""
    it.stream.closed(None)
    secrets.put(ROOTS, roots_secret(b"x"))
    assert it.wakes == 0


def test_its_socket_is_the_users_own_and_replaces_one_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "new" / "SDS"
    for _ in range(2):
        with secret_socket(path) as bound:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            bound.listen()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(path))
        left.close()
    before = os.umask(0o022)
    os.umask(before)
    assert before != 0o177


def test_a_folder_that_cannot_be_written_is_named() -> None:
    with pytest.raises(UserError, match="/proc/nowhere/SDS"), secret_socket(Path("/proc/nowhere/SDS")):
        pass
