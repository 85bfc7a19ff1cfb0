"""`isthmus cluster list`, `show`, `rotate` and `remove`."""

import json
from pathlib import Path

import pytest

from isthmus.kube.client import running_client
from isthmus.kube.errors import ApiError
from isthmus.kube.kinds import POD, SECRET
from isthmus.kube.secret_kubeconfig import access_from_secret
from isthmus.lib.errors import UserError
from isthmus.operate.asking import ACCOUNTS
from isthmus.operate.rights import ACCOUNT
from tests.operate.desk import Desk, at_desk
from tests.scenarios.mesh import SECRETS, running_pilot


async def stored(desk: Desk) -> bytes:
    return (await desk.mesh.west.api.get(SECRET, "east", "istio-system")).data["east"]


async def secrets(desk: Desk) -> list[str]:
    return [each.metadata.name for each in (await desk.mesh.west.api.list(SECRET, "istio-system")).items]


async def test_without_the_control_plane_the_state_is_unknown_and_says_why(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.add()
        (row,) = json.loads(await desk.type("list", "-o", "json"))
        assert (row["name"], row["state"], row["since"]) == ("east", "unknown", "")
        assert "cannot be asked" in row["reason"]
        assert "unknown" in await desk.type("list")


async def test_a_secret_that_is_refused_says_so_even_without_the_control_plane(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.mesh.join("bad", b"kind: Config\n")
        (row,) = json.loads(await desk.type("list", "-o", "json"))
        assert "current-context: is missing" in row["reason"]


async def test_one_cluster_is_shown(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.add()
        assert f"istio-system/{ACCOUNT}" in await desk.type("show", "east")
        assert "there is: east" in await desk.refused("show", "north")


async def test_a_stored_credential_gets_its_own_successor_and_stays_good(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.add()
        old = await stored(desk)
        rotated = json.loads(await desk.type("rotate", "east", "--token-lifetime", "2h", "-o", "json"))
        assert rotated["secret"] == "updated"
        assert await stored(desk) != old
        for kubeconfig in (old, await stored(desk)):
            async with running_client(access_from_secret(kubeconfig)) as client:
                await client.list(POD)


async def test_without_the_tier_renew_an_operator_rotates(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.add("east", "--rights", "read")
        old = await stored(desk)
        assert "serviceaccounts/token" in await desk.refused("rotate", "east")
        assert await stored(desk) == old
        await desk.type("rotate", "east", "--context", "east")
        assert await stored(desk) != old


async def test_the_control_plane_takes_a_rotated_token_without_losing_the_cluster(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk, running_pilot(desk.mesh.west.server, tmp_path) as pilot:
        await desk.add()
        row = await pilot.cluster("east", lambda row: row["state"] == "fresh")
        await desk.type("rotate", "east")
        assert (await pilot.cluster("east", lambda row: row["served"]))["since"] == row["since"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("rotate", "north"), "No cluster north is joined"),
        (("rotate", "plain"), "holds no token that `isthmus cluster add` made"),
        (("rotate", "east", "--context", "west"), "is another cluster than east"),
        (("remove", "north", "--yes"), "joined: east, plain"),
        (("remove", "east"), "say --yes"),
        (("remove", "east", "--yes", "--purge"), "--purge needs --context"),
        (("remove", "east", "--yes", "--purge", "--context", "west"), "is another cluster than east"),
        (
            ("list", "--pilot", "http://127.0.0.1:1"),
            "The control plane at http://127.0.0.1:1 gives no answer",
        ),
        (("list", "--pilot", "127.0.0.1:1"), "write http://HOST:PORT"),
        (("list", "-n", "nowhere"), "Namespace nowhere does not exist"),
    ],
)
async def test_bad_input_is_one_sentence_and_changes_nothing(
    tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.add()
        await desk.mesh.join("plain", b"kind: Config\n")
        before = await stored(desk)
        assert sentence in await desk.refused(*words)
        assert await secrets(desk) == ["east", "plain"]
        assert await stored(desk) == before


async def test_removing_says_what_disappears_and_purging_ends_the_tokens(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.add()
        access = access_from_secret(await stored(desk))
        said = await desk.type("remove", "east", "--dry-run")
        assert "leaves the mesh" in said
        assert await secrets(desk) == ["east"]
        said = await desk.type("remove", "east", "--yes", "--purge", "--context", "east")
        assert "Secret istio-system/east deleted" in said
        assert f"ServiceAccount istio-system/{ACCOUNT} deleted" in said
        assert await secrets(desk) == []
        assert not [
            each
            for each in (await desk.mesh.east.api.list(ACCOUNTS)).items
            if each["metadata"]["name"] == ACCOUNT
        ]
        async with running_client(access) as client:
            with pytest.raises(ApiError) as refusal:
                await client.list(POD)
        assert refusal.value.status == 401


async def test_removing_one_of_several_in_a_secret_leaves_the_others(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.mesh.join("east", desk.east.kubeconfig("east"), secret="clusters")
        second = {"data": {"north": "e30="}}
        await desk.mesh.west.api.patch(SECRETS, "clusters", second, "istio-system")
        await desk.type("remove", "east", "--yes")
        found = await desk.mesh.west.api.get(SECRET, "clusters", "istio-system")
        assert list(found.data) == ["north"]


async def test_an_expired_token_is_told_by_its_server(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.add()
        await desk.mesh.east.api.delete(ACCOUNTS, ACCOUNT, "istio-system")
        with pytest.raises(UserError, match=r"by its stored credential: cannot .*not, or no longer, valid"):
            await desk.type("rotate", "east")


async def test_a_dry_run_of_a_rotation_changes_nothing(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.add()
        before = await stored(desk)
        assert "isthmus.dev/token-lifetime: '7200'" in await desk.type(
            "rotate", "east", "--token-lifetime", "2h", "--dry-run"
        )
        assert await stored(desk) == before
