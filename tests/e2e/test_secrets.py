"""A Secret that is wrong is shown, and disturbs nothing."""

import asyncio
import base64
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import yaml

from isthmus.lab.apply import apply, remove
from isthmus.lab.demo.deploy import SYSTEM
from isthmus.lab.demo.workloads import make
from isthmus.lab.plan import host_interfaces
from tests.e2e.commands import pilot_page
from tests.e2e.conftest import Mesh


def secret(name: str, kubeconfig: object) -> dict[str, Any]:
    text = kubeconfig if isinstance(kubeconfig, str) else yaml.safe_dump(kubeconfig)
    return make(
        "v1",
        "Secret",
        name,
        SYSTEM,
        metadata={"labels": {"istio/multiCluster": "true"}},
        data={name: base64.b64encode(text.encode()).decode()},
    )


def kubeconfig(server: str, **user: object) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "c", "user": user or {"token": "nobody"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "current-context": "c",
    }


@asynccontextmanager
async def listening(greeting: bytes) -> AsyncGenerator[str]:
    """A server that greets and then says nothing more, as pods reach it."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await reader.read()
        writer.close()

    address = str(host_interfaces()[0].ip)
    server = await asyncio.start_server(greet, address, 0)
    try:
        yield f"https://{address}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def clusterz() -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in pilot_page("/debug/clusterz")}


def rows_with_reasons(names: set[str]) -> dict[str, dict[str, Any]]:
    """The rows of clusterz once each of the named ones gives its reason."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        rows = clusterz()
        if all(rows.get(name, {}).get("reason") for name in names):
            return rows
        time.sleep(0.2)
    raise AssertionError(clusterz())


async def test_bad_secrets_are_reported_and_disturb_nothing(mesh: Mesh) -> None:
    async with listening(b"") as hanging, listening(b"SSH-2.0-nonsense\r\n") as nonsense:
        bad = {
            "words": secret("words", "this is no kubeconfig"),
            "plugin": secret("plugin", kubeconfig("https://10.0.0.1", exec={"command": "gcloud"})),
            "file": secret("file", kubeconfig("https://10.0.0.1", tokenFile="/etc/passwd")),
            "refusing": secret("refusing", kubeconfig(f"https://{mesh.primary.plan.node_address}:1")),
            "hanging": secret("hanging", kubeconfig(hanging)),
            "nonsense": secret("nonsense", kubeconfig(nonsense)),
        }
        try:
            await apply(mesh.primary.client, bad.values())
            await mesh.observed.sample(300)
            rows = await asyncio.to_thread(rows_with_reasons, set(bad))
            assert "exec" in rows["plugin"]["reason"]
            assert "tokenFile" in rows["file"]["reason"]
            assert not any(rows[name]["served"] and rows[name]["state"] == "fresh" for name in bad)
            assert rows["east"]["syncStatus"] == rows["west"]["syncStatus"] == "synced"
        finally:
            for name in bad:
                await remove(mesh.primary.client, "Secret", name, SYSTEM)
    answers = await mesh.observed.sample(100)
    assert {who.partition("/")[0] for who in answers} == {"west", "east"}
    assert mesh.observed.failures() == []
