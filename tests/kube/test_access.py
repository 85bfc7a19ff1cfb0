import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus.kube.access import Access, ExecPlugin, access_from_file, access_in_cluster
from isthmus.kube.client import running_client
from isthmus.kube.credentials import TokenFile
from isthmus.kube.errors import ApiError, KubeconfigRefused, Unreachable
from isthmus.kube.kinds import SERVICE
from isthmus.lib.errors import UserError
from tests.kube.fake_api import running_fake_api, status
from tests.kube.pki import issue, make_ca

V1 = "client.authentication.k8s.io/v1"


def write(path: Path, **fields: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"kind": "Config", **fields}))
    return path


def full(path: Path, user: dict[str, Any], **cluster: Any) -> Path:
    return write(
        path,
        contexts=[
            {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "ns"}},
            {"name": "two", "context": {"cluster": "c"}},
        ],
        clusters=[{"name": "c", "cluster": {"server": "https://203.0.113.7:6443", **cluster}}],
        users=[{"name": "u", "user": user}],
        **{"current-context": "one"},
    )


def test_a_pod_finds_its_own_cluster(tmp_path: Path) -> None:
    for name, text in (("token", "t0ken\n"), ("ca.crt", "PEM"), ("namespace", "istio-system")):
        (tmp_path / name).write_text(text)
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = access_in_cluster(tmp_path, environment)
    assert (access.server, access.ca_pem, access.namespace) == (
        "https://[fd00::1]:443",
        b"PEM",
        "istio-system",
    )
    assert access.token_file == tmp_path / "token"
    with pytest.raises(UserError, match="Not in a pod"):
        access_in_cluster(tmp_path, {})
    with pytest.raises(UserError, match="automountServiceAccountToken"):
        access_in_cluster(tmp_path / "nowhere", environment)


def test_files_are_found_beside_the_kubeconfig(tmp_path: Path) -> None:
    pair = issue(make_ca(), "me")
    (tmp_path / "me.pem").write_bytes(pair.cert_pem)
    (tmp_path / "me.key").write_bytes(pair.key_pem)
    user = {"client-certificate": "me.pem", "client-key": "me.key", "tokenFile": "token"}
    access = access_from_file(full(tmp_path / "config", user))
    assert (access.client_cert_pem, access.client_key_pem) == (pair.cert_pem, pair.key_pem)
    assert (access.token_file, access.namespace) == (tmp_path / "token", "ns")
    with pytest.raises(KubeconfigRefused, match=r"users\[0\].user.client-key: .*No such file"):
        access_from_file(full(tmp_path / "config", {"client-key": "nothing"}))


def test_another_context_may_be_chosen_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    path = full(tmp_path / "config", {"token": "t"}, **{"insecure-skip-tls-verify": True})
    access = access_from_file(path, "two")
    assert (access.token, access.namespace, access.insecure) == (None, "default", True)
    with pytest.raises(UserError, match="no context 'three'"):
        access_from_file(path, "three")


def test_of_several_files_the_first_to_define_a_name_wins(tmp_path: Path) -> None:
    first = write(
        tmp_path / "a" / "first",
        **{"current-context": "one"},
        users=[{"name": "u", "user": {"tokenFile": "token"}}],
    )
    second = full(tmp_path / "b" / "second", {"token": "second"})
    environment = {"KUBECONFIG": f"{first}{os.pathsep}{tmp_path / 'missing'}{os.pathsep}{second}"}
    access = access_from_file(None, environment=environment)
    assert (access.token, access.token_file) == (None, tmp_path / "a" / "token")
    assert access.server == "https://203.0.113.7:6443"


def test_no_kubeconfig_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No kubeconfig at"):
        access_from_file(None, environment={"KUBECONFIG": str(tmp_path / "missing")})
    with pytest.raises(UserError, match="cannot be read"):
        access_from_file(tmp_path / "missing")
    with pytest.raises(UserError, match="no current context"):
        access_from_file(write(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("user", "field"),
    [
        ({"auth-provider": {"name": "oidc"}}, "users[0].user.auth-provider"),
        ({"as": "admin"}, "users[0].user.as"),
        ({"exec": {"command": "x"}}, "users[0].user.exec.apiVersion"),
        ({"exec": {"apiVersion": V1}}, "users[0].user.exec.command"),
        ({"exec": {"apiVersion": V1, "command": "x", "args": "y"}}, "users[0].user.exec.args"),
        ({"exec": {"apiVersion": V1, "command": "x", "env": [5]}}, "users[0].user.exec.env"),
        (
            {"exec": {"apiVersion": V1, "command": "x", "interactiveMode": "Always"}},
            "users[0].user.exec.interactiveMode",
        ),
    ],
)
def test_what_is_not_supported_of_a_persons_file_is_named(
    tmp_path: Path, user: dict[str, Any], field: str
) -> None:
    with pytest.raises(KubeconfigRefused) as caught:
        access_from_file(full(tmp_path / "config", user))
    assert caught.value.field == field


async def test_a_rotated_token_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "token"
    source = TokenFile(path)
    with pytest.raises(Unreachable, match="cannot be read: No such file"):
        await source.token()
    path.write_text("")
    with pytest.raises(Unreachable, match="holds no token"):
        await source.token()
    path.write_text("first\n")
    assert await source.token() == "first"
    (tmp_path / "new").write_text("second")
    (tmp_path / "new").rename(path)
    assert await source.token() == "second"
    path.unlink()
    assert await source.token() == "second"
    assert "second" not in repr(source)


def script(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return str(path)


def credential(**fields: Any) -> str:
    return json.dumps({"kind": "ExecCredential", "apiVersion": V1, "status": fields})


async def test_a_plugin_gives_a_token_and_is_run_again_after_a_refusal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = script(
        tmp_path / "plugin",
        f"""echo "$1 $MORE $KUBERNETES_EXEC_INFO" >> {log}
        echo '{credential(token="TOKEN")}' | sed "s/TOKEN/t$(wc -l < {log})/" """,
    )
    plugin = {
        "apiVersion": V1,
        "command": "./plugin",
        "args": ["login"],
        "env": [{"name": "MORE", "value": "m"}],
    }
    access = access_from_file(full(tmp_path / "config", {"exec": plugin | {"provideClusterInfo": True}}))
    assert access.exec_plugin is not None
    assert access.exec_plugin.command == (command, "login")

    async def refuse(_: Any) -> Any:
        return status(401, "Unauthorized")

    async with (
        running_fake_api(SERVICE) as api,
        running_client(replace(access, server=api.access.server)) as client,
    ):
        await client.list(SERVICE)
        await client.list(SERVICE)
        api.intercept = refuse
        with pytest.raises(ApiError):
            await client.list(SERVICE)
        api.intercept = None
        await client.list(SERVICE)
    sent = [request.headers["Authorization"] for request in api.requests]
    assert sent == ["Bearer t1", "Bearer t1", "Bearer t1", "Bearer t2"]
    called = log.read_text().splitlines()[0]
    assert called.startswith("login m ")
    told = json.loads(called.removeprefix("login m "))
    assert told["spec"] == {"interactive": False, "cluster": {"server": "https://203.0.113.7:6443"}}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("exit 3", "failed with code 3"),
        ("echo nonsense", "printed no ExecCredential"),
        (f"echo '{credential()}'", "neither a token nor certificate and key"),
        (f"echo '{credential(clientCertificateData='x')}'", "neither a token nor certificate and key"),
        (f"echo '{credential(clientCertificateData='x', clientKeyData='y')}'", "cannot be read"),
        (f"""echo '{credential(token="t").replace("/v1", "/v1beta1")}'""", "another kind or version"),
    ],
)
async def test_a_plugin_that_fails_is_said(tmp_path: Path, body: str, reason: str) -> None:
    access = Access("https://127.0.0.1:1", exec_plugin=ExecPlugin(V1, (script(tmp_path / "p", body),)))
    async with running_client(access) as client:
        with pytest.raises(Unreachable, match=reason):
            await client.list(SERVICE)


async def test_a_plugin_that_is_not_there_is_said() -> None:
    access = Access("https://127.0.0.1:1", exec_plugin=ExecPlugin(V1, ("no-such-plugin",)))
    async with running_client(access) as client:
        with pytest.raises(Unreachable, match="no-such-plugin cannot be run: No such file"):
            await client.list(SERVICE)


async def test_a_plugins_certificate_is_presented_and_renewed_as_it_expires(tmp_path: Path) -> None:
    ca = make_ca()
    me = issue(ca, "me")
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 5))
    given = credential(
        clientCertificateData=me.cert_pem.decode(),
        clientKeyData=me.key_pem.decode(),
        expirationTimestamp=soon,
    )
    (tmp_path / "given").write_text(given)
    command = script(tmp_path / "p", f"echo x >> {tmp_path}/log; cat {tmp_path}/given")
    tls = issue(ca, "api", "127.0.0.1").server_context(client_ca=ca)
    async with running_fake_api(SERVICE, tls=tls) as api:
        access = replace(api.access, ca_pem=ca.cert_pem, exec_plugin=ExecPlugin(V1, (command,)))
        async with running_client(access) as client:
            await client.list(SERVICE)
            await client.list(SERVICE)
    assert (tmp_path / "log").read_text() == "x\nx\n"
