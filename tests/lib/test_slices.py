import asyncio
from collections.abc import Iterator

from isthmus.lib.slices import in_slices


async def test_others_have_a_turn_between_slices_and_only_there() -> None:
    told: list[str] = []

    def steps() -> Iterator[None]:
        for _ in range(3):
            told.append("step")
            yield

    async def other() -> None:
        told.append("other")

    for seconds, order in ((0.0, ["step", "other", "step", "step"]), (60.0, ["step"] * 3 + ["other"])):
        told.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(in_slices(steps(), seconds))
            tasks.create_task(other())
        assert told == order
