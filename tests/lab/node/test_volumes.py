import asyncio
from pathlib import Path
from typing import Any

import pytest

from isthmus.lab.node.configs import ConfigName
from isthmus.lab.node.environment import ConfigMissingError
from isthmus.lab.node.podspec import Pod, TokenSource
from isthmus.lab.node.volume_files import VolumeFile, write_volume
from isthmus.lab.node.volumes import PodVolumes, Token, configs_used
from isthmus.lib.lifecycle import task_scope
from tests.lab.node.builders import PLACEMENT, pod
from tests.support.virtual_time import run_in_virtual_time

DATA = {("ConfigMap", "cm"): {"a": b"1", "b": b"2"}, ("Secret", "s"): {"key": b"hidden"}}


class FakeIssuer:
    """Issues tokens that live an hour and counts them."""

    def __init__(self) -> None:
        self.issued = 0

    async def request(self, source: TokenSource) -> Token:
        self.issued += 1
        return Token(f"token-{self.issued}".encode(), 3600.0)


def volumes_of(
    tmp_path: Path, *volumes: dict[str, Any], issuer: FakeIssuer | None = None
) -> tuple[Pod, PodVolumes]:
    subject = pod({"volumes": list(volumes)}, labels={"app": "web"})
    issue = (issuer or FakeIssuer()).request
    return subject, PodVolumes(subject, tmp_path, PLACEMENT, lambda kind, name: DATA.get((kind, name)), issue)


async def test_each_kind_of_volume_becomes_files(tmp_path: Path) -> None:
    field = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}
    subject, volumes = volumes_of(
        tmp_path,
        {"name": "empty", "emptyDir": {}},
        {"name": "config", "configMap": {"name": "cm", "items": [{"key": "a", "path": "sub/a"}]}},
        {"name": "secret", "secret": {"secretName": "s", "defaultMode": 0o400}},
        {"name": "down", "downwardAPI": {"items": [field]}},
        {
            "name": "access",
            "projected": {
                "sources": [
                    {"serviceAccountToken": {"path": "token"}},
                    {"configMap": {"name": "cm", "items": [{"key": "b", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [field]}},
                ]
            },
        },
    )
    await volumes.fill(subject)
    assert (volumes.path("config") / "sub/a").read_bytes() == b"1"
    assert (volumes.path("secret") / "key").read_bytes() == b"hidden"
    assert (volumes.path("secret") / "key").stat().st_mode & 0o777 == 0o400
    assert (volumes.path("down") / "labels").read_text() == 'app="web"'
    assert (volumes.path("access") / "token").read_bytes() == b"token-1"
    assert (volumes.path("access") / "ca.crt").read_bytes() == b"2"
    assert volumes.path("empty").stat().st_mode & 0o777 == 0o777


@pytest.mark.parametrize(
    ("volume", "text"),
    [
        ({"configMap": {"name": "nosuch"}}, 'configmap "nosuch" not found'),
        ({"secret": {"secretName": "s", "items": [{"key": "x", "path": "x"}]}}, "non-existent key x"),
    ],
)
async def test_what_is_missing_is_named(tmp_path: Path, volume: dict[str, Any], text: str) -> None:
    subject, volumes = volumes_of(tmp_path, {"name": "v"} | volume)
    with pytest.raises(ConfigMissingError, match=text):
        await volumes.fill(subject)


async def test_what_is_missing_but_optional_is_left_out(tmp_path: Path) -> None:
    subject, volumes = volumes_of(tmp_path, {"name": "v", "configMap": {"name": "nosuch", "optional": True}})
    await volumes.fill(subject)
    assert [entry.name for entry in volumes.path("v").iterdir() if not entry.name.startswith("..")] == []


async def test_a_path_out_of_the_volume_is_refused(tmp_path: Path) -> None:
    items = [{"key": "a", "path": "../../etc/passwd"}]
    subject, volumes = volumes_of(tmp_path, {"name": "v", "configMap": {"name": "cm", "items": items}})
    with pytest.raises(ValueError, match="no path within"):
        await volumes.fill(subject)


def test_tokens_are_renewed_before_they_expire(tmp_path: Path) -> None:
    async def scenario() -> None:
        issuer = FakeIssuer()
        source = {"sources": [{"serviceAccountToken": {"path": "token"}}]}
        subject, volumes = volumes_of(tmp_path, {"name": "v", "projected": source}, issuer=issuer)
        await volumes.fill(subject)
        async with task_scope() as scope:
            scope.serve(volumes.serve_renewal(asyncio.Event(), lambda: subject), name="renewal")
            await asyncio.sleep(2870)
            assert issuer.issued == 1
            await asyncio.sleep(20)
        assert (issuer.issued, (volumes.path("v") / "token").read_bytes()) == (2, b"token-2")

    run_in_virtual_time(scenario())


def test_a_config_map_that_comes_while_a_token_is_asked_for_is_mounted_all_the_same(tmp_path: Path) -> None:
    class SlowIssuer(FakeIssuer):
        async def request(self, source: TokenSource) -> Token:
            await asyncio.sleep(1)
            return await super().request(source)

    async def scenario() -> None:
        found: dict[str, dict[str, bytes]] = {}
        stale = asyncio.Event()
        subject = pod(
            {
                "volumes": [
                    {"name": "roots", "configMap": {"name": "cm", "optional": True}},
                    {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
                ]
            }
        )
        volumes = PodVolumes(
            subject, tmp_path, PLACEMENT, lambda kind, name: found.get(name), SlowIssuer().request
        )
        async with task_scope() as scope:
            stale.set()
            scope.serve(volumes.serve_renewal(stale, lambda: subject), name="renewal")
            await asyncio.sleep(0.5)
            found["cm"] = {"a": b"1"}
            stale.set()
            await asyncio.sleep(5)
        assert (volumes.path("roots") / "a").read_bytes() == b"1"

    run_in_virtual_time(scenario())


def test_files_change_as_one_and_old_ones_go(tmp_path: Path) -> None:
    assert write_volume(tmp_path, {"a": VolumeFile(b"1", 0o644), "d/b": VolumeFile(b"2", 0o644)}, None)
    before = (tmp_path / "..data").resolve()
    assert not write_volume(tmp_path, {"a": VolumeFile(b"1", 0o644), "d/b": VolumeFile(b"2", 0o644)}, None)
    assert write_volume(tmp_path, {"a": VolumeFile(b"3", 0o644), "c": VolumeFile(b"4", 0o644)}, None)
    assert not before.exists()
    names = sorted(entry.name for entry in tmp_path.iterdir() if not entry.name.startswith(".."))
    assert names == ["a", "c"]
    assert (tmp_path / "a").read_bytes() == b"3"


def test_all_configs_of_a_pod_are_known() -> None:
    subject = pod(
        {
            "volumes": [
                {"name": "a", "configMap": {"name": "m1"}},
                {"name": "b", "projected": {"sources": [{"secret": {"name": "s1"}}]}},
            ],
            "containers": [
                {
                    "name": "c",
                    "envFrom": [{"secretRef": {"name": "s2"}}],
                    "env": [{"name": "E", "valueFrom": {"configMapKeyRef": {"name": "m2", "key": "k"}}}],
                }
            ],
        }
    )
    pairs = {("ConfigMap", "m1"), ("ConfigMap", "m2"), ("Secret", "s1"), ("Secret", "s2")}
    assert configs_used(subject) == {ConfigName(kind, "demo", name) for kind, name in pairs}
