"""`isthmus ca`, against a real API server over loopback."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from isthmus.ca.authority import CertificateAuthority, running_authority
from isthmus.ca.material import OPERATOR_CA
from isthmus.cli.ca import app
from isthmus.kube.client import Client, running_client
from isthmus.kube.kinds import NAMESPACE, SECRET
from isthmus.lab.apiserver.server import running_api_server
from isthmus.lib.errors import UserError
from tests.ca.making import CONTROL, material, secret
from tests.ca.waiting import until


@asynccontextmanager
async def cluster(folder: Path) -> AsyncGenerator[Client]:
    async with running_api_server() as server, running_client(server.access()) as client:
        (folder / "kubeconfig").write_bytes(server.kubeconfig("west"))
        await client.create(NAMESPACE, {"metadata": {"name": CONTROL}})
        yield client


async def run(folder: Path, *arguments: str) -> str:
    """What the command prints; raises what it raises."""
    words = [*arguments, "--kubeconfig", str(folder / "kubeconfig")]
    result = await asyncio.to_thread(CliRunner().invoke, app, words)
    if result.exception is not None:
        raise result.exception
    return result.stdout


async def status(folder: Path) -> dict[str, Any]:
    return json.loads(await run(folder, "status", "-o", "json"))


def roots(authority: CertificateAuthority) -> int:
    return 0 if authority.signer is None else len(authority.signer.roots)


async def test_a_rotation_is_asked_for_and_shown(tmp_path: Path) -> None:
    async with cluster(tmp_path) as client:
        async with running_authority(client, CONTROL) as authority:
            await authority.ready()
            assert (await status(tmp_path))["phase"] == "steady"
            assert "isthmus ca status" in await run(tmp_path, "rotate")
            await until(lambda: roots(authority) == 2)
        found = await status(tmp_path)
        assert found["phase"] == "introducing"
        assert [one["signs"] for one in found["roots"]] == [True, False]
        assert datetime.fromisoformat(found["nextStep"]) > datetime.now(UTC)
        text = await run(tmp_path, "status")
        assert text.startswith("Secret istio-system/istio-ca-secret: introducing\nnext step at ")
        assert "PRIVATE" not in text + json.dumps(found)
        with pytest.raises(UserError, match="under way"):
            await run(tmp_path, "rotate")


async def test_a_wish_that_nobody_has_heard_is_shown(tmp_path: Path) -> None:
    async with cluster(tmp_path) as client:
        async with running_authority(client, CONTROL) as authority:
            await authority.ready()
        await run(tmp_path, "rotate")
        assert "has not begun it" in await run(tmp_path, "status")


async def test_the_operators_ca_is_shown_and_a_bad_one_named(tmp_path: Path) -> None:
    async with cluster(tmp_path) as client:
        with pytest.raises(UserError, match="neither Secret cacerts nor istio-ca-secret"):
            await run(tmp_path, "status")
        good = material(datetime.now(UTC))
        await client.create(SECRET, secret(OPERATOR_CA, good))
        assert (await status(tmp_path))["phase"] == "operator"
        with pytest.raises(UserError, match="only you can rotate"):
            await run(tmp_path, "rotate")
        await client.replace(SECRET, OPERATOR_CA, secret(OPERATOR_CA, good | {"ca-key.pem": b"x"}), CONTROL)
        with pytest.raises(UserError, match=r"Secret istio-system/cacerts, key ca-key\.pem"):
            await run(tmp_path, "status")


async def test_wrong_usage_and_unreachable_servers_end_in_a_sentence(tmp_path: Path) -> None:
    async with cluster(tmp_path):
        with pytest.raises(UserError, match="text or json"):
            await run(tmp_path, "status", "-o", "yaml")
    with pytest.raises(UserError, match="cannot be reached"):
        await run(tmp_path, "status")
