"""Exec credential plugins of a person's kubeconfig (client.authentication.k8s.io v1 and v1beta1).

Only for kubeconfigs that a person chose: nothing out of a Secret ever comes here.
"""

import asyncio
import contextlib
import json
import os
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from msgspec import Struct

from isthmus.kube.access import ExecPlugin
from isthmus.kube.errors import Unreachable

_MOST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ExecCredential:
    """What a plugin gave: a token, a client certificate, or both. `expires` is in Unix seconds."""

    token: str | None = field(repr=False)
    cert_pem: bytes | None = field(repr=False)
    key_pem: bytes | None = field(repr=False)
    expires: float


class _Status(Struct, rename="camel"):
    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: datetime | None = None


class _Answer(Struct, rename="camel"):
    kind: str
    api_version: str
    status: _Status


async def run_plugin(plugin: ExecPlugin) -> ExecCredential:
    """Run the plugin once, for at most a minute. Its standard error stays ours, so that people see it.

    Raises Unreachable with what went wrong.
    """
    name = plugin.command[0]
    try:
        process = await asyncio.create_subprocess_exec(
            *plugin.command,
            env={**os.environ, **plugin.environment, "KUBERNETES_EXEC_INFO": _exec_info(plugin)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise Unreachable(f"the credential plugin {name} cannot be run: {error.strerror}") from None
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        raise Unreachable(f"the credential plugin {name} did not end in {_MOST_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        raise Unreachable(f"the credential plugin {name} failed with code {process.returncode}")
    return read_answer(plugin, output)


def read_answer(plugin: ExecPlugin, output: bytes) -> ExecCredential:
    """The credential in a plugin's output. Raises Unreachable."""
    name = plugin.command[0]
    try:
        answer = msgspec.json.decode(output, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unreachable(f"the credential plugin {name} printed no ExecCredential") from None
    if answer.kind != "ExecCredential" or answer.api_version != plugin.api_version:
        raise Unreachable(f"the credential plugin {name} printed another kind or version than asked for")
    status = answer.status
    cert, key = status.client_certificate_data, status.client_key_data
    if bool(cert) != bool(key) or not (status.token or cert):
        raise Unreachable(f"the credential plugin {name} gave neither a token nor certificate and key")
    until = status.expiration_timestamp
    return ExecCredential(
        token=status.token or None,
        cert_pem=cert.encode() if cert else None,
        key_pem=key.encode() if key else None,
        expires=until.timestamp() if until else float("inf"),
    )


def _exec_info(plugin: ExecPlugin) -> str:
    spec: dict[str, object] = {"interactive": False}
    if plugin.cluster is not None:
        spec["cluster"] = plugin.cluster
    return json.dumps({"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec})
