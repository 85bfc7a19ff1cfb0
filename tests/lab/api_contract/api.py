"""One API server as the contract suite sees it: JSON over HTTPS, as anybody one likes; and some objects."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from aiohttp import ClientSession, TCPConnector

from isthmus.lab import pki

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
_NUMBERS = count(1)


@dataclass(slots=True)
class Answer:
    """What the server answered: the HTTP status, the decoded body, and the headers."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def reason(self) -> str:
        return self.body["reason"]

    @property
    def message(self) -> str:
        return self.body["message"]


@dataclass(slots=True)
class Api:
    """One API server, spoken to as JSON over HTTPS, by default as its administrator."""

    url: str
    files: pki.PkiFiles
    session: ClientSession

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
        session: ClientSession | None = None,
        **params: Any,
    ) -> Answer:
        given = {"Content-Type": content_type, **(headers or {})}
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        query = {name: str(value) for name, value in params.items()}
        caller = session or self.session
        async with caller.request(
            method, self.url + path, data=data, headers=given, params=query
        ) as response:
            text = await response.text()
            decoded = json.loads(text) if "json" in response.content_type else text
            return Answer(response.status, decoded, dict(response.headers))

    async def namespace(self) -> str:
        """A new namespace with its default service account; gives its path."""
        name = f"contract-{next(_NUMBERS)}"
        await self.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        path = f"/api/v1/namespaces/{name}"
        await self.call("POST", f"{path}/serviceaccounts", {"metadata": {"name": "default"}})
        return path

    @asynccontextmanager
    async def watching(self, path: str, **params: Any) -> AsyncGenerator[AsyncIterator[dict[str, Any]]]:
        query = {"watch": "true", **{name: str(value) for name, value in params.items()}}
        async with self.session.get(self.url + path, params=query) as response:
            assert response.status == 200, await response.text()

            async def events() -> AsyncIterator[dict[str, Any]]:
                async for line in response.content:
                    yield json.loads(line)

            yield events()

    @asynccontextmanager
    async def session_of(
        self, identity: pki.Identity | None = None, *, token: str = ""
    ) -> AsyncGenerator[ClientSession]:
        """A session as somebody else: with another certificate, a bearer token, or nothing at all."""
        async with running_session(self.files, identity, token) as session:
            yield session


@asynccontextmanager
async def running_session(
    files: pki.PkiFiles, identity: pki.Identity | None, token: str = ""
) -> AsyncGenerator[ClientSession]:
    context = ssl.create_default_context(cafile=str(files.ca_cert))
    if identity is not None:
        pair = files.directory / f"{identity.user.replace(':', '_')}.pem"
        pair.write_bytes(b"".join(pki.client_pair(files, identity)))
        context.load_cert_chain(pair)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with ClientSession(connector=TCPConnector(ssl=context), headers=headers) as session:
        yield session


async def eventually(condition: Callable[[], Awaitable[bool]], *, seconds: float = 15) -> None:
    """Wait until the condition holds: some of what the real server does takes it a moment."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - another process's state can only be polled
            await asyncio.sleep(0.05)


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "example/app:1"}]
    meta = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": containers, **spec}}


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


def deployment(name: str, **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "main", "image": "example/app"}]},
    }
    return {
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }
