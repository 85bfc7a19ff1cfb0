"""API servers in memory, behind the seam `clusters.api`: for scenarios in virtual time."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar, cast

import msgspec

from isthmus.clusters.api import Api
from isthmus.kube import kinds, objects
from isthmus.kube.access import Access
from isthmus.kube.decoding import Ref
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import Kind
from isthmus.kube.objects import EndpointConditions, Metadata, ObjectReference
from isthmus.kube.watch import Phase, Removed, Synced, Upserted, WatchState

CONTROL = "istio-system"
T = TypeVar("T")


class FakeServer:
    """One cluster's API server. Make it misbehave by `hangs`, `problem` or `tokens`, then `interrupt()`."""

    def __init__(self, name: str) -> None:
        self.url = f"https://{name}.test:6443"
        self.hangs = False
        self.problem: Exception | None = None
        self.forbidden: set[str] = set()
        self.tokens = {"good"}
        self.slice_version: str | None = "v1"
        self.also: set[str] = set()
        """Further addresses."""
        self.retry_every = 1.0
        self.lists = 0
        self.version = "v1.31.0"
        self.writes = 0
        self.handlers: dict[str, Callable[[Any], bytes]] = {}
        """What answers to the body of a `METHOD /path`."""
        self.written: dict[str, dict[str, Any]] = {}
        """What was created, by name, as it is after patches."""
        self._objects: dict[str, dict[Ref, Any]] = {}
        self._watches: dict[asyncio.Event, tuple[str, str | None, Callable[[Any], None]]] = {}
        self.put(kinds.NAMESPACE, objects.Namespace(Metadata(name="kube-system", uid=f"uid-of-{name}")))

    def put(self, kind: Kind[Any], item: Any) -> None:
        self._objects.setdefault(kind.plural, {})[_ref(item)] = item
        self._tell(kind.plural, Upserted(item))

    def remove(self, kind: Kind[Any], name: str, namespace: str = "demo") -> None:
        item = self._objects[kind.plural].pop(Ref(namespace, name))
        self._tell(kind.plural, Removed(item))

    def objects(self, kind: Kind[T], namespace: str | None, label_selector: str) -> list[T]:
        """What was put there; the selector is one `name=value`, or nothing."""
        name, _, value = label_selector.partition("=")
        return [
            item
            for ref, item in self._objects.get(kind.plural, {}).items()
            if namespace in (None, ref.namespace) and (not name or item.metadata.labels.get(name) == value)
        ]

    def interrupt(self) -> None:
        """Break all watches: each client lists again, and finds the server as it is now."""
        for broken in self._watches:
            broken.set()

    @property
    def watches(self) -> int:
        return len(self._watches)

    def _tell(self, plural: str, event: Upserted[Any] | Removed[Any]) -> None:
        for watched, namespace, deliver in tuple(self._watches.values()):
            if watched == plural and namespace in (None, event.object.metadata.namespace):
                deliver(event)

    async def answer(self, token: str | None, plural: str) -> None:
        """What a request meets before anything else."""
        await asyncio.sleep(0.01)
        if self.hangs:
            await asyncio.sleep(10)
            raise Unreachable("it did not answer within 10 s")
        if self.problem is not None:
            raise self.problem
        if token not in self.tokens:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        if plural in self.forbidden:
            raise ApiError(403, "Forbidden", f"cannot list {plural}")

    def write(self, kind: Kind[Any], name: str, body: Mapping[str, Any], *, new: bool) -> dict[str, Any]:
        """Create one object, or merge into it (RFC 7386)."""
        old = self.written.get(name)
        if new is (old is not None):
            raise ApiError(409 if new else 404, "AlreadyExists" if new else "NotFound", name)
        version = body["metadata"].get("resourceVersion") if "metadata" in body else None
        if old is not None and version not in (None, old["metadata"]["resourceVersion"]):
            raise ApiError(409, "Conflict", name)
        self.writes += 1
        merged = _merged(old or {}, {**body, "plural": kind.plural})
        merged["metadata"] = {**merged["metadata"], "name": name, "resourceVersion": str(self.writes)}
        self.written[name] = merged
        return merged

    async def follow(
        self,
        token: str | None,
        kind: Kind[Any],
        namespace: str | None,
        deliver: Callable[[Any], None],
        report: Callable[[WatchState], None],
    ) -> NoReturn:
        plural = kind.plural
        known: dict[Ref, Any] = {}
        synced = False
        while True:
            try:
                report(WatchState(Phase.LISTING, time.time()))
                await self.answer(token, plural)
                if plural == "endpointslices" and kind.version != self.slice_version:
                    raise ApiError(404, "NotFound", "the server could not find the requested resource")
                self.lists += 1
                here = self._objects.get(plural, {})
                now = {ref: item for ref, item in here.items() if namespace in (None, ref.namespace)}
                for ref in known.keys() - now.keys():
                    deliver(Removed(known[ref]))
                for ref, item in now.items():
                    if known.get(ref) != item:
                        deliver(Upserted(item))
                if not synced:
                    synced = True
                    deliver(Synced("1"))
                report(WatchState(Phase.SYNCED, time.time(), time.time()))
                broken = asyncio.Event()
                self._watches[broken] = plural, namespace, deliver
                try:
                    await broken.wait()
                finally:
                    del self._watches[broken]
                    known = dict(self._objects.get(plural, {}))
            except (ApiError, Unreachable) as error:
                report(WatchState(Phase.FAILED, time.time(), error=error, retry_in=1.0))
                await asyncio.sleep(self.retry_every)


def _merged(old: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch (RFC 7386)."""
    new = dict(old)
    for name, value in patch.items():
        known = new.get(name)
        if value is None:
            new.pop(name, None)
        elif isinstance(known, dict) and isinstance(value, dict):
            new[name] = _merged(cast("dict[str, Any]", known), cast("dict[str, Any]", value))
        else:
            new[name] = value
    return new


class _FakeApi:
    def __init__(self, server: FakeServer, token: str | None) -> None:
        self._server = server
        self._token = token

    async def serves(self, group: str, version: str, plural: str) -> bool:
        await self._server.answer(self._token, "discovery")
        return version == self._server.slice_version

    async def ready(self) -> None:
        await self._server.answer(self._token, "readyz")

    async def version(self) -> str:
        await self._server.answer(self._token, "version")
        return self._server.version

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> bytes:
        await self._server.answer(self._token, path)
        if f"{method} {path}" not in self._server.handlers:
            raise ApiError(404, "NotFound", path)
        return self._server.handlers[f"{method} {path}"](body)

    async def get(self, kind: Kind[T], name: str, namespace: str) -> T:
        await self._server.answer(self._token, kind.plural)
        answer = self._server.handlers.get(f"GET {kind.path(namespace, name)}")
        if answer is not None:
            return msgspec.json.decode(answer(None), type=kind.type)
        if name not in self._server.written:
            raise ApiError(404, "NotFound", name)
        return msgspec.convert(self._server.written[name], kind.type)

    async def list(self, kind: Kind[T], namespace: str | None, *, label_selector: str = "") -> Sequence[T]:
        await self._server.answer(self._token, kind.plural)
        found = [body for body in self._server.written.values() if body["plural"] == kind.plural]
        watched = self._server.objects(kind, namespace, label_selector)
        return [*(msgspec.convert(body, kind.type) for body in found), *watched]

    async def delete(self, kind: Kind[Any], name: str, namespace: str) -> None:
        await self._server.answer(self._token, kind.plural)
        if self._server.written.pop(name, None) is None:
            raise ApiError(404, "NotFound", name)

    async def create(self, kind: Kind[Any], body: Mapping[str, Any], namespace: str) -> dict[str, Any]:
        await self._server.answer(self._token, kind.plural)
        return self._server.write(kind, body["metadata"]["name"], body, new=True)

    async def patch(
        self, kind: Kind[Any], name: str, patch: Mapping[str, Any], namespace: str
    ) -> dict[str, Any]:
        await self._server.answer(self._token, kind.plural)
        answer = self._server.handlers.get(f"PATCH {kind.path(namespace, name)}")
        if answer is not None:
            return msgspec.json.decode(answer(patch), type=dict[str, Any])
        return self._server.write(kind, name, patch, new=False)

    async def watch(
        self,
        kind: Kind[Any],
        deliver: Callable[[Any], None],
        *,
        report: Callable[[WatchState], None],
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> NoReturn:
        await self._server.follow(self._token, kind, namespace, deliver, report)


class World:
    """All servers, and how to connect to one."""

    def __init__(self, *names: str) -> None:
        self.servers = {name: FakeServer(name) for name in ("home", *names)}
        self.connections = 0
        self._kubeconfigs: dict[tuple[str, str], str] = {}
        self._secrets: dict[str, str] = {}

    def __getitem__(self, name: str) -> FakeServer:
        return self.servers[name]

    @property
    def local(self) -> Access:
        return Access(self["home"].url, token="good")

    @asynccontextmanager
    async def connect(self, access: Access) -> AsyncGenerator[Api]:
        self.connections += 1
        (server,) = [each for each in self.servers.values() if access.server in {each.url, *each.also}]
        yield _FakeApi(server, access.token)

    def put_secret(
        self,
        name: str,
        *,
        created: str = "2026-01-01T00:00:00Z",
        annotations: dict[str, str] | None = None,
        **data: str | bytes,
    ) -> None:
        """A cluster Secret in the control plane's cluster; text values are kubeconfigs or anything else."""
        uid = self._secrets.setdefault(name, str(uuid.uuid4()))
        self["home"].put(
            kinds.SECRET,
            objects.Secret(
                metadata=Metadata(
                    name=name,
                    namespace=CONTROL,
                    uid=uid,
                    creation_timestamp=created,
                    annotations=annotations or {},
                ),
                data={key: text.encode() if isinstance(text, str) else text for key, text in data.items()},
            ),
        )

    def remove_secret(self, name: str) -> None:
        del self._secrets[name]
        self["home"].remove(kinds.SECRET, name, CONTROL)

    def kubeconfig(self, name: str, token: str = "good", server: str | None = None) -> str:
        server = server or self[name].url
        known = self._kubeconfigs.get((server, token))
        if known is None:
            known = self._kubeconfigs[server, token] = self._make_kubeconfig(server, token)
        return known

    def _make_kubeconfig(self, server: str, token: str) -> str:
        return f"""
current-context: it
contexts: [{{name: it, context: {{cluster: it, user: it}}}}]
clusters: [{{name: it, cluster: {{server: {server}}}}}]
users:
- name: it
  user:
    token: {token}
"""


def fill(server: FakeServer, *pods: tuple[str, str]) -> None:
    """A Service `demo/echo`, its slice and its pods (name, address)."""
    server.put(
        kinds.SERVICE,
        objects.Service(
            metadata=Metadata(name="echo", namespace="demo"),
            spec=objects.ServiceSpec(
                cluster_ip="10.0.0.1",
                ports=(objects.ServicePort(port=80, name="http", target_port=8080),),
                selector={"app": "echo"},
            ),
        ),
    )
    for name, address in pods:
        put_pod(server, name, address)
    put_slice(server, *pods)


def put_pod(server: FakeServer, name: str, address: str, **fields: Any) -> None:
    server.put(
        kinds.POD,
        objects.Pod(
            metadata=Metadata(name=name, namespace="demo", labels={"app": "echo"}),
            spec=objects.PodSpec(node_name="n1", service_account_name="echo"),
            status=objects.PodStatus(phase="Running", pod_ip=address, **fields),
        ),
    )


def put_slice(server: FakeServer, *pods: tuple[str, str]) -> None:
    server.put(
        kinds.ENDPOINT_SLICE,
        objects.EndpointSlice(
            metadata=Metadata(name="echo-1", namespace="demo", labels={"kubernetes.io/service-name": "echo"}),
            ports=(objects.EndpointPort(name="http", port=8080),),
            endpoints=tuple(
                objects.SliceEndpoint(
                    addresses=(address,),
                    conditions=EndpointConditions(ready=True),
                    target_ref=ObjectReference(kind="Pod", namespace="demo", name=name),
                )
                for name, address in pods
            ),
        ),
    )


def _ref(item: objects.Object) -> Ref:
    return Ref(item.metadata.namespace, item.metadata.name)
