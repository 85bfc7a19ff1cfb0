"""ConfigMaps and Secrets by name, kept by watches, for the volumes and variables of pods."""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, field

from isthmus.kube.client import Client
from isthmus.kube.errors import ApiError
from isthmus.kube.kinds import SECRET, Kind
from isthmus.kube.objects import Object, Secret
from isthmus.kube.watch import Event, Removed, Synced, Upserted


class ConfigMap(Object, frozen=True, gc=False, rename="camel"):
    """core/v1 ConfigMap with its binary data too."""

    data: dict[str, str] = field(default_factory=dict[str, str])
    binary_data: dict[str, bytes] = field(default_factory=dict[str, bytes])


CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap", True, ConfigMap)
CONFIG_KINDS: tuple[Kind[Any], ...] = (CONFIG_MAP, SECRET)


class ConfigName(Struct, frozen=True):
    """Kind ("ConfigMap" or "Secret"), namespace and name of one object."""

    kind: str
    namespace: str
    name: str


class Configs:
    """What the watches have told; `listener` hears of every change."""

    def __init__(self, client: Client, listener: Callable[[ConfigName], None]) -> None:
        self._client = client
        self._listener = listener
        self._known: dict[ConfigName, Mapping[str, bytes]] = {}

    def get(self, name: ConfigName) -> Mapping[str, bytes] | None:
        """The object's data, None where none is known."""
        return self._known.get(name)

    def deliver(self, event: Event[Any]) -> None:
        """Take an event of either watch."""
        match event:
            case Synced():
                return
            case Upserted(found):
                name, data = _read(found)
                self._known[name] = data
            case Removed(found):
                name, _ = _read(found)
                self._known.pop(name, None)
        self._listener(name)

    async def fetch(self, name: ConfigName) -> None:
        """Ask the API server for an object that no watch has told of yet; it may be newer than they are."""
        if name in self._known:
            return
        kind: Kind[Any] = CONFIG_MAP if name.kind == "ConfigMap" else SECRET
        try:
            self._known[name] = _read(await self._client.get(kind, name.name, name.namespace))[1]
        except ApiError as error:
            if error.status != 404:
                raise


def _read(found: object) -> tuple[ConfigName, Mapping[str, bytes]]:
    match found:
        case Secret():
            return ConfigName("Secret", found.metadata.namespace, found.metadata.name), found.data
        case ConfigMap():
            data = {key: text.encode() for key, text in found.data.items()} | found.binary_data
            return ConfigName("ConfigMap", found.metadata.namespace, found.metadata.name), data
        case _:
            raise TypeError(f"{type(found).__name__} is neither ConfigMap nor Secret")
