"""A pod's volumes: folders on the machine, filled from ConfigMaps, Secrets, the Pod and tokens, and kept up
to date.

What files a volume holds is derived purely; a token is the one thing that must be asked for. Where something
is missing, the pod waits, as a kubelet's would.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from isthmus.kube.errors import ApiError, Unreachable
from isthmus.lab.node.configs import ConfigName
from isthmus.lab.node.environment import ConfigMissingError, Lookup, Placement, field_value, resource_value
from isthmus.lab.node.podspec import (
    DownwardSource,
    KeysSource,
    Pod,
    ProjectedSource,
    Projection,
    TokenSource,
    Volume,
)
from isthmus.lab.node.volume_files import VolumeFile, write_volume

_RENEW_AT = 0.8
"""Share of a token's life after which a kubelet asks for the next."""
_RETRY = 5.0


@dataclass(frozen=True, slots=True)
class Token:
    """A service account's token, and the seconds that it lives from now."""

    text: bytes
    life: float


RequestToken = Callable[[TokenSource], Awaitable[Token]]


class PodVolumes:
    """The volumes of one pod, below `folder`; owned by the pod's task."""

    def __init__(
        self, pod: Pod, folder: Path, placement: Placement, lookup: Lookup, request: RequestToken
    ) -> None:
        self._pod = pod
        self._folder = folder
        self._placement = placement
        self._lookup = lookup
        self._request = request
        self._tokens: dict[TokenSource, tuple[bytes, float]] = {}
        self._group = pod.spec.security_context.fs_group

    def path(self, name: str) -> Path:
        """Where a volume is on the machine; KeyError where the pod has none of that name."""
        if all(volume.name != name for volume in self._pod.spec.volumes):
            raise KeyError(name)
        return self._folder / name

    async def fill(self, pod: Pod) -> None:
        """Write what is new or has changed. ConfigMissingError or ValueError says what is in the way."""
        self._pod = pod
        for volume in pod.spec.volumes:
            path = self._folder / volume.name
            path.mkdir(parents=True, exist_ok=True, mode=0o755)
            if volume.empty_dir is not None:
                _open_to_all(path, self._group)
                continue
            for source in _token_sources(volume):
                await self._renew(source)
            write_volume(path, self._files(volume), self._group)

    async def serve_renewal(self, stale: asyncio.Event, pod: Callable[[], Pod]) -> None:
        """Fill again, for ever, when they are `stale` or a token grows old; failures wait for the next.

        What becomes stale while they are filled, which asks for tokens, is filled once more.
        """
        while True:
            now = asyncio.get_running_loop().time()
            due = min((when for _, when in self._tokens.values()), default=None)
            try:
                async with asyncio.timeout(None if due is None else max(_RETRY, due - now)):
                    await stale.wait()
            except TimeoutError:
                pass
            stale.clear()
            try:
                await self.fill(pod())
            except (ConfigMissingError, ValueError, ApiError, Unreachable):
                continue  # as with a kubelet, what was mounted stays until it can be replaced

    async def _renew(self, source: TokenSource) -> None:
        now = asyncio.get_running_loop().time()
        if source not in self._tokens or self._tokens[source][1] <= now:
            token = await self._request(source)
            self._tokens[source] = token.text, now + token.life * _RENEW_AT

    def _files(self, volume: Volume) -> dict[str, VolumeFile]:
        if volume.config_map is not None:
            return self._keys(
                "ConfigMap", volume.config_map.name, volume.config_map, volume.config_map.default_mode
            )
        if volume.secret is not None:
            return self._keys("Secret", volume.secret.secret_name, volume.secret, volume.secret.default_mode)
        if volume.downward_api is not None:
            return self._downward(volume.downward_api, volume.downward_api.default_mode)
        found: dict[str, VolumeFile] = {}
        if volume.projected is not None:
            for projection in volume.projected.sources:
                found |= self._projection(projection, volume.projected)
        return found

    def _projection(self, source: Projection, volume: ProjectedSource) -> dict[str, VolumeFile]:
        mode = volume.default_mode
        if source.config_map is not None:
            return self._keys("ConfigMap", source.config_map.name, source.config_map, mode)
        if source.secret is not None:
            return self._keys("Secret", source.secret.name, source.secret, mode)
        if source.downward_api is not None:
            return self._downward(source.downward_api, mode)
        if source.service_account_token is not None:
            token = source.service_account_token
            return {token.path: VolumeFile(self._tokens[token][0], mode if self._group is None else 0o640)}
        return {}

    def _keys(self, kind: str, name: str, source: KeysSource, mode: int) -> dict[str, VolumeFile]:
        data = self._lookup(kind, name)
        if data is None:
            if source.optional:
                return {}
            raise ConfigMissingError(f'{kind.lower()} "{name}" not found')
        if not source.items:
            return {key: VolumeFile(content, mode) for key, content in data.items()}
        missing = [item.key for item in source.items if item.key not in data]
        if missing and not source.optional:
            raise ConfigMissingError(f"references non-existent key {missing[0]} of {kind} {name}")
        present = [item for item in source.items if item.key in data]
        return {item.path: VolumeFile(data[item.key], item.mode or mode) for item in present}

    def _downward(self, source: DownwardSource, mode: int) -> dict[str, VolumeFile]:
        found: dict[str, VolumeFile] = {}
        for item in source.items:
            if item.field_ref is not None:
                text = field_value(self._pod, item.field_ref.field_path, self._placement)
            elif item.resource_field_ref is not None:
                ref = item.resource_field_ref
                [container] = [c for c in self._pod.spec.containers if c.name == ref.container_name]
                text = resource_value(container, ref, self._placement)
            else:
                raise ValueError(f"downwardAPI item {item.path!r} has neither fieldRef nor resourceFieldRef")
            found[item.path] = VolumeFile(text.encode(), item.mode or mode)
        return found


def configs_used(pod: Pod) -> set[ConfigName]:
    """Every ConfigMap and Secret that a pod's volumes and variables refer to."""
    found: set[tuple[str, str]] = set()
    for volume in pod.spec.volumes:
        found.update(_keys_used(volume.config_map, volume.secret and volume.secret.secret_name))
        for projection in volume.projected.sources if volume.projected else ():
            found.update(_keys_used(projection.config_map, projection.secret and projection.secret.name))
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        for each in container.env_from:
            refs = (("ConfigMap", each.config_map_ref), ("Secret", each.secret_ref))
            found.update((kind, ref.name) for kind, ref in refs if ref is not None)
        for source in (variable.value_from for variable in container.env):
            if source is not None:
                keys = (("ConfigMap", source.config_map_key_ref), ("Secret", source.secret_key_ref))
                found.update((kind, ref.name) for kind, ref in keys if ref is not None)
    return {ConfigName(kind, pod.metadata.namespace, name) for kind, name in found}


def _keys_used(config_map: KeysSource | None, secret: str | None) -> Iterator[tuple[str, str]]:
    if config_map is not None:
        yield "ConfigMap", config_map.name
    if secret:
        yield "Secret", secret


def _token_sources(volume: Volume) -> list[TokenSource]:
    sources = volume.projected.sources if volume.projected else ()
    return [source.service_account_token for source in sources if source.service_account_token is not None]


def _open_to_all(path: Path, group: int | None) -> None:
    if group is None:
        path.chmod(0o777)
    else:
        os.chown(path, -1, group)
        path.chmod(0o2777)
