"""`isthmus cluster add`: what it makes, and that it makes all of it or nothing."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus.clusters.annotations import EXPIRES, IDENTITY
from isthmus.kube.client import Client, running_client
from isthmus.kube.errors import ApiError
from isthmus.kube.kinds import NAMESPACE, POD, SECRET, SERVICE, untyped
from isthmus.kube.secret_kubeconfig import access_from_secret
from isthmus.lab.pki import Identity
from isthmus.lib.errors import UserError
from isthmus.operate.asking import ACCOUNTS
from isthmus.operate.rights import ACCOUNT
from tests.operate.desk import Desk, at_desk, merge_kubeconfigs
from tests.scenarios.mesh import SECRETS, running_pilot

ROLES = untyped("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)


async def objects(client: Client) -> set[str]:
    """What the command may have made in a cluster and is not on its way out."""
    namespaces = await client.list(NAMESPACE)
    accounts = await client.list(ACCOUNTS)
    roles = await client.list(ROLES)
    secrets = await client.list(SECRET)
    return {
        *(f"ns {each.metadata.name}" for each in namespaces.items if not each.metadata.deletion_timestamp),
        *(
            f"account {each['metadata']['name']}"
            for each in accounts.items
            if each["metadata"]["name"] == ACCOUNT
        ),
        *(f"role {each['metadata']['name']}" for each in roles.items),
        *(f"secret {each.metadata.name}" for each in secrets.items),
    }


async def test_a_cluster_joins_with_a_token_of_least_rights(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        joined = await desk.add()
        assert joined["secret"] == "created"
        assert joined["account"] == f"istio-system/{ACCOUNT}"
        assert f"ServiceAccount istio-system/{ACCOUNT}" in joined["made"]
        secret = await desk.mesh.west.api.get(SECRET, "east", "istio-system")
        assert secret.metadata.labels["istio/multiCluster"] == "true"
        left = datetime.fromisoformat(secret.metadata.annotations[EXPIRES]) - datetime.now(UTC)
        assert timedelta(hours=23) < left <= timedelta(hours=24)
        access = access_from_secret(secret.data["east"])
        assert access.client_cert_pem is None
        async with running_client(access) as reader:
            await reader.list(POD)
            with pytest.raises(ApiError) as refusal:
                await reader.list(SECRET)
            assert refusal.value.status == 403


async def test_the_control_plane_may_renew_the_token_of_what_joined_and_change_no_other_secret(
    tmp_path: Path,
) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.add()
        west = desk.mesh.west
        await west.api.create(SECRETS, {"metadata": {"name": "other"}}, "istio-system")
        pilot = Identity("system:serviceaccount:istio-system:istio-pilot-service-account", ())
        note = {"metadata": {"annotations": {"renewed": "now"}}}
        async with running_client(west.server.access(pilot)) as client:

            async def status_of_patching(name: str) -> int:
                try:
                    await client.patch(SECRETS, name, note, "istio-system")
                except ApiError as error:
                    return error.status
                return 200

            assert (await status_of_patching("east"), await status_of_patching("other")) == (200, 403)
            await desk.type("remove", "east", "--yes")
            assert await status_of_patching("east") == 403
            await desk.add("east", "--rights", "read")
            assert await status_of_patching("east") == 403


async def test_the_control_plane_serves_what_joined(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk, running_pilot(desk.mesh.west.server, tmp_path) as pilot:
        await desk.add()
        await pilot.cluster("east", lambda row: row["state"] == "fresh")
        address = f"http://127.0.0.1:{pilot.http_port}"
        rows = json.loads(await desk.type("list", "--pilot", address, "-o", "json"))
        assert [(row["name"], row["state"]) for row in rows] == [("west", "fresh"), ("east", "fresh")]
        assert rows[1]["account"] == f"istio-system/{ACCOUNT}"
        assert "fresh" in await desk.type("list", "--pilot", address)


async def test_joining_again_changes_nothing(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.add()
        before = await desk.mesh.west.api.get(SECRET, "east", "istio-system")
        again = await desk.add()
        assert (again["secret"], again["made"]) == ("unchanged", [])
        after = await desk.mesh.west.api.get(SECRET, "east", "istio-system")
        assert after.metadata.resource_version == before.metadata.resource_version


async def test_joining_again_replaces_a_credential_of_the_guide(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.mesh.join_east()
        assert (await desk.add())["secret"] == "updated"
        secret = await desk.mesh.west.api.get(SECRET, "east", "istio-system")
        assert access_from_secret(secret.data["east"]).token


async def test_joining_again_gives_back_a_right_that_was_taken(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.add()
        role: dict[str, Any] = {"rules": []}
        await desk.mesh.east.api.patch(ROLES, "istio-reader-istio-system", role)
        assert (await desk.add())["secret"] == "unchanged"
        assert (await desk.mesh.east.api.get(ROLES, "istio-reader-istio-system"))["rules"]


async def test_only_the_tiers_that_are_asked_for_are_granted(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.add("east", "--rights", "read")
        assert "role istio-reader-istio-system" in await objects(desk.mesh.east.api)
        assert "role istio-reader-authenticate-istio-system" not in await objects(desk.mesh.east.api)


async def test_a_dry_run_prints_the_objects_and_makes_none(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        before = await objects(desk.mesh.west.api), await objects(desk.mesh.east.api)
        text = await desk.type("add", "east", "--context", "east", "--server", desk.east.url, "--dry-run")
        kinds = [body["kind"] for body in yaml.safe_load_all(text)]
        assert kinds[:3] == ["Namespace", "ServiceAccount", "ClusterRole"]
        assert kinds[-3:] == ["Role", "RoleBinding", "Secret"]
        assert (await objects(desk.mesh.west.api), await objects(desk.mesh.east.api)) == before


async def test_the_operators_own_credential_is_stored_only_when_asked_for(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        joined = await desk.add("east", "--use-current-credentials")
        assert (joined["account"], joined["made"]) == ("", [])
        secret = await desk.mesh.west.api.get(SECRET, "east", "istio-system")
        access = access_from_secret(secret.data["east"])
        assert access.client_cert_pem
        async with running_client(access) as client:
            await client.list(SERVICE)


async def test_a_failure_leaves_nothing_half_made(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        # Somebody who may do everything in east, and only look in west.
        viewer = Identity("viewer", ("viewers",))
        binding = untyped("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "CRB", namespaced=False)
        role = {
            "metadata": {"name": "look"},
            "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}],
        }
        await desk.mesh.west.api.create(ROLES, role)
        subject = {"kind": "User", "name": "viewer", "apiGroup": "rbac.authorization.k8s.io"}
        role_ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "look"}
        body = {
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "look"},
            "subjects": [subject],
            "roleRef": role_ref,
        }
        await desk.mesh.west.api.create(binding, body)
        merge_kubeconfigs(
            desk.kubeconfig, desk.mesh.west.server.kubeconfig("west", viewer), desk.east.kubeconfig("east")
        )
        before = await objects(desk.mesh.east.api)
        with pytest.raises(
            UserError, match=r"create Role istio-system/istio-pilot-renew-east.*administrator"
        ):
            await desk.add()
        assert await objects(desk.mesh.east.api) == before


async def _join_as_other(desk: Desk) -> None:
    await desk.mesh.join("other", desk.east.kubeconfig("other"))


async def _take_the_secret(desk: Desk) -> None:
    await desk.mesh.west.api.create(SECRETS, {"metadata": {"name": "east"}}, "istio-system")


async def _hold_it_in_another_secret(desk: Desk) -> None:
    await desk.mesh.join("east", desk.east.kubeconfig("east"), secret="clusters")


async def _nothing(_desk: Desk) -> None:
    pass


ADD_EAST = ("add", "east", "--context", "east")


@pytest.mark.parametrize(
    ("prepare", "words", "sentence"),
    [
        (_nothing, ("add", "East_1", "--context", "east"), "'East_1' cannot be a cluster's name"),
        (_nothing, (*ADD_EAST,), "reachable from this machine only"),
        (_nothing, (*ADD_EAST, "--server", "east"), "--server is 'east'"),
        (_nothing, (*ADD_EAST, "--server", "URL", "--rights", "read,sing"), "'sing' is no tier"),
        (_nothing, (*ADD_EAST, "--server", "URL", "--rights", "heal"), "lacks read"),
        (_nothing, (*ADD_EAST, "--server", "URL", "--token-lifetime", "1m"), "at least 10m"),
        (_nothing, (*ADD_EAST, "--server", "URL", "--token-lifetime", "soon"), "not a duration"),
        (_nothing, (*ADD_EAST, "--server", "URL", "-o", "xml"), "write table, json, yaml"),
        (_nothing, (*ADD_EAST, "--server", "URL", "-n", "nowhere"), "Namespace nowhere does not exist"),
        (_nothing, ("add", "x", "--context", "north"), "no context 'north'"),
        (_nothing, ("add", "x", "--context", "west", "--server", "WEST"), "control plane's own cluster"),
        (_nothing, (*ADD_EAST, "--server", "WEST"), "the API server"),
        (_join_as_other, (*ADD_EAST, "--server", "URL"), "joined already as other"),
        (_take_the_secret, (*ADD_EAST, "--server", "URL"), "not labelled istio/multiCluster=true"),
        (_hold_it_in_another_secret, (*ADD_EAST, "--server", "URL"), "istio-system/clusters, key east"),
    ],
)
async def test_bad_input_is_one_sentence_and_changes_nothing(
    tmp_path: Path, prepare: Any, words: tuple[str, ...], sentence: str
) -> None:
    async with at_desk(tmp_path) as desk:
        await prepare(desk)
        before = await objects(desk.mesh.west.api), await objects(desk.mesh.east.api)
        urls = {"URL": desk.east.url, "WEST": desk.mesh.west.server.url}
        said = await desk.refused(*(urls.get(word, word) for word in words))
        assert sentence in said
        assert "\n" not in said
        assert (await objects(desk.mesh.west.api), await objects(desk.mesh.east.api)) == before


async def test_a_token_that_was_revoked_is_replaced_by_joining_again(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.add()
        await desk.mesh.east.api.delete(ACCOUNTS, ACCOUNT, "istio-system")
        again = await desk.add()
        assert again["secret"] == "updated"
        assert again["made"] == [f"ServiceAccount istio-system/{ACCOUNT}"]


async def test_a_dry_run_holds_no_credential(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        text = await desk.type("add", "east", "--context", "east", "--server", desk.east.url, "--dry-run")
        *_, secret = yaml.safe_load_all(text)
        assert "data" not in secret
        assert secret["metadata"]["annotations"]["isthmus.dev/credential-origin"] == "token"


async def test_a_server_that_only_the_control_plane_reaches_is_stored_when_that_is_said(
    tmp_path: Path,
) -> None:
    async with at_desk(tmp_path) as desk:
        add = (*ADD_EAST, "--server", "https://east.invalid:6443")
        assert "gives no answer" in await desk.refused(*add)
        # The namespace that was made and unmade goes only where controllers run.
        assert "Namespace istio-system is being deleted" in await desk.refused(*add)
        await desk.mesh.east.api.request(
            "PUT", "/api/v1/namespaces/istio-system/finalize", body={"metadata": {"name": "istio-system"}}
        )
        await desk.type(*add, "--server-unreachable")
        await desk.type("rotate", "east", "--context", "east", "--server-unreachable")
        secret = await desk.mesh.west.api.get(SECRET, "east", "istio-system")
        assert access_from_secret(secret.data["east"]).server == "https://east.invalid:6443"
        assert "needs --context" in await desk.refused("rotate", "east", "--server-unreachable")


async def test_another_cluster_takes_a_name_only_if_that_is_said(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.add()
        west = desk.mesh.west.api
        mine = (await west.get(SECRET, "east", "istio-system")).metadata.annotations[IDENTITY]
        # As if the name were another cluster's, which does not answer any more.
        dead = desk.east.kubeconfig("east").replace(desk.east.url.encode(), b"https://127.0.0.1:1")
        patch = {
            "metadata": {"annotations": {IDENTITY: "another"}},
            "data": {"east": base64.b64encode(dead).decode()},
        }
        await west.patch(SECRET, "east", patch, "istio-system")
        refusal = await desk.refused("add", "east", "--context", "east", "--server", desk.east.url)
        assert "is another cluster" in refusal
        assert "--allow-different-cluster" in refusal
        joined = await desk.add("east", "--allow-different-cluster")
        assert joined["secret"] == "updated"
        secret = await west.get(SECRET, "east", "istio-system")
        assert secret.metadata.annotations[IDENTITY] == mine
        assert access_from_secret(secret.data["east"]).server == desk.east.url
