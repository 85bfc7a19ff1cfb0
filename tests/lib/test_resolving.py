import asyncio

import pytest

from isthmus.lib.resolving import resolve


async def test_a_name_becomes_its_addresses_and_an_address_is_its_own() -> None:
    assert "127.0.0.1" in await resolve("localhost", timeout=10)
    assert await resolve("10.1.2.3", timeout=10) == ["10.1.2.3"]
    assert await resolve("fd00::1", timeout=10) == ["fd00::1"]


@pytest.mark.parametrize("name", ["no-such-host.invalid", "x" * 70 + ".invalid", "a..b"])
async def test_a_name_without_addresses_is_an_error(name: str) -> None:
    with pytest.raises(OSError):
        await resolve(name, timeout=30)


async def test_it_can_be_given_up() -> None:
    with pytest.raises(TimeoutError):
        await resolve("localhost", timeout=0)
    await asyncio.sleep(0.05)  # what comes too late disturbs nobody
