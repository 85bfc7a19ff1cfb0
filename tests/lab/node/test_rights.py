from pathlib import Path

import msgspec
import pytest

from isthmus.lab.images import RootFilesystem
from isthmus.lab.node.enter import enter_command, entrance
from isthmus.lab.node.rights import CAPABILITIES, derive_rights
from isthmus.lab.node.runtime import LaunchSpec, RunningState
from isthmus.lib.errors import UserError
from tests.lab.node.builders import pod


def test_the_containers_own_context_goes_before_the_pods() -> None:
    subject = pod(
        {
            "securityContext": {
                "runAsUser": 1000,
                "runAsGroup": 1000,
                "fsGroup": 5,
                "supplementalGroups": [6],
            },
            "containers": [{"name": "c", "securityContext": {"runAsUser": 1337}}],
        }
    )
    rights = derive_rights(subject, subject.spec.containers[0])
    assert (rights.uid, rights.gid, rights.groups) == (1337, 1000, (6, 5))


def test_capabilities_are_added_to_the_usual_ones_or_taken_away() -> None:
    usual = capabilities({})
    assert capabilities({"add": ["NET_ADMIN"]}) - usual == {"NET_ADMIN"}
    assert usual - capabilities({"drop": ["CAP_CHOWN"]}) == {"CHOWN"}
    assert capabilities({"drop": ["ALL"], "add": ["NET_RAW"]}) == {"NET_RAW"}
    assert "NET_ADMIN" not in usual
    assert "SYS_ADMIN" not in usual


def capabilities(changes: dict[str, list[str]]) -> set[str]:
    subject = pod({"containers": [{"name": "c", "securityContext": {"capabilities": changes}}]})
    numbers = derive_rights(subject, subject.spec.containers[0]).capabilities
    return {name for name, number in CAPABILITIES.items() if number in numbers}


@pytest.mark.parametrize(
    ("context", "text"),
    [({"runAsNonRoot": True}, "runAsNonRoot"), ({"capabilities": {"add": ["NOSUCH"]}}, "NOSUCH")],
)
def test_rights_that_cannot_be_had_are_named(context: dict[str, object], text: str) -> None:
    subject = pod({"containers": [{"name": "c", "securityContext": context}]})
    with pytest.raises(ValueError, match=text):
        derive_rights(subject, subject.spec.containers[0])


SPEC = LaunchSpec(
    mark="isthmus-west", rootfs_folder="/r", rootfs=RootFilesystem(), read_only_root=False, hostname="web",
    argv=["run"], env={"A": "secret"}, cwd="/", uid=1337, gid=1337, groups=[],
    capabilities=[CAPABILITIES["NET_ADMIN"]], no_new_privileges=True,
)  # fmt: skip


def test_a_command_enters_with_the_containers_user_rights_and_variables() -> None:
    found = enter_command(RunningState(42, SPEC), ["id", "-u"])
    assert "--target=42" in found.argv
    assert found.argv[-3:] == ["--", "id", "-u"]
    assert {"--reuid=1337", "--clear-groups", "--bounding-set=-all,+net_admin", "--no-new-privs"} <= set(
        found.argv
    )
    assert found.env == {"A": "secret"}
    assert not any("secret" in word for word in found.argv)


def test_the_first_running_container_is_entered_unless_one_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "pods" / "demo_web_u1"
    folder.mkdir(parents=True)
    (folder / "order").write_text("web\nside")
    for name, pid in (("side", 1), ("web", 2)):
        (folder / f"{name}.json").write_bytes(msgspec.json.encode(RunningState(pid, SPEC)))
    assert "--target=2" in entrance(tmp_path, "demo", "web", None, ["id"]).argv
    assert "--target=1" in entrance(tmp_path, "demo", "web", "side", ["id"]).argv
    with pytest.raises(UserError, match="there are: side, web"):
        entrance(tmp_path, "demo", "web", "nosuch", ["id"])
    with pytest.raises(UserError, match="demo/other has no running container"):
        entrance(tmp_path, "demo", "other", None, ["id"])
