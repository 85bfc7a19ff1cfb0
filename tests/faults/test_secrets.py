"""Cluster Secrets that are rotated, spoilt, swapped, deleted, put back: nothing untrue reaches a proxy."""

import asyncio
from pathlib import Path
from random import Random

from tests.faults.stage import Member, running_stage


async def test_credentials_change_in_every_way_and_no_endpoint_is_lost_or_invented(tmp_path: Path) -> None:
    random = Random(7)
    async with running_stage(tmp_path, "north", "south", "up") as stage:
        north, south, up = stage.remotes.values()

        # Good to good: a new certificate, and the old connection is let go once everything was read anew.
        await stage.put_secret("north", north=north.kubeconfig())
        await stage.rotated(1)
        await north.change(random)
        await stage.converge()

        # Good, bad, good.
        good = north.kubeconfig()
        await stage.put_secret("north", north=good)
        await stage.rotated(2)
        await stage.put_secret("north", north=token_of_nobody(north))
        row = await stage.pilot.cluster("north", lambda row: any("401" in one for one in row["remarks"]))
        assert row["state"] == "fresh"
        await north.change(random)
        await stage.converge()
        await stage.put_secret("north", north=good)
        await stage.pilot.cluster("north", lambda row: not row["remarks"])
        await north.change(random)
        await stage.converge()

        # Two names exchange what they stand for: neither is believed, both go on as they were.
        await stage.put_secret("north", north=south.kubeconfig())
        await stage.put_secret("south", south=north.kubeconfig())
        for each in (north, south):
            row = await stage.pilot.cluster(each.name, lambda row: "another cluster" in str(row["remarks"]))
            assert "another cluster" in str(row["remarks"])
            await each.change(random)
        await stage.converge()
        await stage.put_secret("north", north=north.kubeconfig())
        await stage.put_secret("south", south=south.kubeconfig())
        for each in (north, south):
            await stage.pilot.cluster(each.name, lambda row: not row["remarks"])

        # Deleted, and put back.
        await stage.unregister(up)
        await stage.converge()
        await stage.register(up)
        await stage.converge()

        # Deleted and made anew at once, as `kubectl replace --force` does, with another credential.
        for _ in range(3):
            await stage.make_anew(up)
            await up.change(random)
            await stage.converge()

        # Ten times a second, of every kind; then good.
        for number in range(30):
            for each in (north, south):
                if random.random() < 0.7:
                    bad = random.choice((each.kubeconfig(), token_of_nobody(each), b"no kubeconfig"))
                    await stage.put_secret(each.name, **{each.name: bad})
            if number % 10 == 0:
                await random.choice(stage.members).change(random)
            await asyncio.sleep(0.1)
        for each in (north, south):
            await stage.put_secret(each.name, **{each.name: each.kubeconfig()})
            await each.change(random)
        await stage.converge()
        for each in stage.members:
            await stage.pilot.cluster(each.name, lambda row: row["state"] == "fresh" and not row["remarks"])


def token_of_nobody(member: Member) -> bytes:
    """A kubeconfig with a token that the cluster never gave out."""
    head, _, tail = member.kubeconfig().partition(b"users:\n")
    context = tail[tail.index(b"contexts:") :]
    return head + b"users:\n- name: %b\n  user: {token: nobodys}\n" % member.name.encode() + context


async def test_a_secret_that_is_deleted_and_put_back_ten_times_a_second_ends_as_it_is(tmp_path: Path) -> None:
    random = Random(11)
    async with running_stage(tmp_path, "north", "south") as stage:
        north, south = stage.remotes.values()
        for number in range(20):
            await (stage.unregister if north.registered else stage.register)(north)
            if number % 5 == 0:
                await south.change(random)
            await asyncio.sleep(0.1 if number % 7 else 0.8)
        if not north.registered:
            await stage.register(north)
        await stage.converge()
