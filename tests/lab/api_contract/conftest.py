"""The API server that the contract suite talks to: the embedded one, and the real one where it is at hand."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
import pytest_asyncio

from isthmus.lab import pki
from isthmus.lab.apiserver.server import running_api_server
from isthmus.lab.assets import find_assets
from isthmus.lab.real import RealServer, running_real_server
from tests.lab.api_contract.api import Api, running_session

_SERVERS = ["embedded", *(["real"] if find_assets() else [])]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@asynccontextmanager
async def _running_server(kind: str, directory: Path) -> AsyncGenerator[tuple[str, pki.PkiFiles]]:
    if kind == "embedded":
        async with running_api_server(directory, bookmark_seconds=0.3) as embedded:
            yield embedded.url, embedded.files
        return
    assets = find_assets()
    assert assets is not None
    loopback, services = IPv4Address("127.0.0.1"), IPv4Network("10.96.0.0/16")
    pki.make_pki(directory / "pki", cluster="test", node_name="test-node", addresses=(services[1],))
    ports = (_free_port(), _free_port())
    async with running_real_server(
        RealServer(directory, loopback, _free_port(), services, ports), assets
    ) as real:
        yield real.url, real.files


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=_SERVERS)
async def api(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Api]:
    """A running API server, one for all tests: each makes a namespace of its own."""
    directory = tmp_path_factory.mktemp("cluster")
    async with (
        _running_server(request.param, directory) as (url, files),
        running_session(files, pki.ADMIN) as session,
    ):
        yield Api(url, files, session)
