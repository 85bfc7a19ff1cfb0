"""`isthmus cluster drain` and `undrain`, and what the control plane makes of them."""

import json
from pathlib import Path
from typing import Any

import yaml

from isthmus.clusters.annotations import DRAIN
from isthmus.clusters.draining import Drain, write_drain
from isthmus.kube.kinds import SECRET
from isthmus.kube.objects import Metadata, Secret
from isthmus.operate.draining import plan_drain
from isthmus.operate.registration import read_registrations
from tests.operate.desk import Desk, at_desk
from tests.scenarios.mesh import running_pilot


async def annotation(desk: Desk) -> str | None:
    secret = await desk.mesh.west.api.get(SECRET, "east", "istio-system")
    return secret.metadata.annotations.get(DRAIN)


async def test_a_cluster_is_drained_and_undrained_and_repeating_it_changes_nothing(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk, running_pilot(desk.mesh.west.server, tmp_path) as pilot:
        await desk.add()
        await pilot.cluster("east", lambda row: row["state"] == "fresh")
        printed = await desk.type("drain", "east", "--over", "1h", "--dry-run")
        assert yaml.safe_load(printed)["metadata"]["annotations"][DRAIN].endswith("/3600s")
        assert await annotation(desk) is None

        first = json.loads(await desk.type("drain", "east", "--over", "1h", "-o", "json"))
        assert (first["secret"], "100% left" in first["drain"]) == ("updated", True)
        written = await annotation(desk)
        again = json.loads(await desk.type("drain", "east", "--over", "1h", "-o", "json"))
        assert again == {**first, "secret": "unchanged"}
        assert await annotation(desk) == written
        assert "draining until" in await desk.type("list")
        assert "isthmus cluster drain east" in await desk.type("remove", "east", "--dry-run")

        await desk.type("drain", "east", "--over", "0s")
        row = await pilot.cluster("east", lambda row: str(row["drain"]).startswith("drained since"))
        assert row["state"] == "fresh"
        assert "isthmus cluster drain" not in await desk.type("remove", "east", "--dry-run")

        assert "updated" in await desk.type("undrain", "east")
        await pilot.cluster("east", lambda row: row["drain"] is None)
        assert "unchanged" in await desk.type("undrain", "east")
        assert await annotation(desk) is None


async def test_what_cannot_be_drained_is_refused_with_a_way_forward(tmp_path: Path) -> None:
    async with at_desk(tmp_path) as desk:
        await desk.add()
        assert "No cluster north is joined" in await desk.refused("drain", "north")
        assert "No cluster west is joined" in await desk.refused("undrain", "west")
        assert "--over: `soon` is not a duration" in await desk.refused("drain", "east", "--over", "soon")
        assert "give a week (168h) at most" in await desk.refused("drain", "east", "--over", "169h")
        assert "--output is 'toml'" in await desk.refused("drain", "east", "-o", "toml")
        assert await annotation(desk) is None


def planned(notes: dict[str, str], seconds: float | None) -> tuple[Any, str]:
    metadata = Metadata(name="many", namespace="mesh", resource_version="7", annotations=notes)
    secret = Secret(metadata=metadata, data={"east": b"{}", "north": b"{}"})
    (east, _) = read_registrations([secret])
    return plan_drain(east, seconds, 1000.0)


def test_only_the_pace_of_what_drains_already_changes_and_a_secrets_other_clusters_are_left_alone() -> None:
    north = write_drain({}, "north", Drain(0.0, 5.0))
    assert north is not None
    patch, _ = planned({DRAIN: north}, 60)
    assert patch["metadata"]["resourceVersion"] == "7"
    assert patch["metadata"]["annotations"][DRAIN] == f"east=1970-01-01T00:16:40.000+00:00/60s,{north}"
    half_way = write_drain({DRAIN: north}, "east", Drain(970.0, 60.0))
    assert half_way is not None
    assert planned({DRAIN: half_way}, 60)[0] is None
    faster, words = planned({DRAIN: half_way}, 10)
    assert faster["metadata"]["annotations"][DRAIN] == write_drain({DRAIN: north}, "east", Drain(995.0, 10.0))
    assert words.endswith("50% left")
    done = write_drain({}, "east", Drain(0.0, 60.0))
    assert done is not None
    assert planned({DRAIN: done}, 3600)[0] is None
    assert planned({DRAIN: half_way}, None)[0]["metadata"]["annotations"][DRAIN] == north
    assert planned({DRAIN: done}, None)[0]["metadata"]["annotations"][DRAIN] is None
    # What nobody can read is put right, or taken away.
    assert planned({DRAIN: "east=soon"}, None)[0]["metadata"]["annotations"][DRAIN] is None
    assert planned({DRAIN: "east=soon"}, 60)[0] is not None
