"""The command as an operator runs it."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

COMMAND = (sys.executable, "-m", "isthmus.cli.main", "statsd-bridge")
ANYWHERE = "127.0.0.1:0"
ADDRESSES = ("--udp-address", ANYWHERE, "--tcp-address", ANYWHERE, "--http-address", ANYWHERE)


@asynccontextmanager
async def running(*options: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *options, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(20):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def logged(process: asyncio.subprocess.Process, event: str) -> dict[str, Any]:
    assert process.stderr is not None
    async for line in process.stderr:
        record: dict[str, Any] = json.loads(line)
        if record["event"] == event:
            return record
    raise AssertionError(f"it ended without {event!r}")


async def test_it_serves_reloads_on_sighup_keeps_the_last_good_mapping_and_stops(tmp_path: Path):
    file = tmp_path / "mapping.yml"
    file.write_text("mappings: [{match: a, name: first}]")
    async with running(*ADDRESSES, "--statsd.mapping-config", str(file)) as process:
        ports = (await logged(process, "serving"))["ports"]

        def send(packet: bytes) -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(packet, ("127.0.0.1", ports["udp"]))

        send(b"a:1|c")
        _, writer = await asyncio.open_connection("127.0.0.1", ports["tcp"])
        writer.write(b"b:2|g\n")
        await writer.drain()
        async with aiohttp.ClientSession() as session:

            async def page_with(*lines: str) -> None:
                while True:
                    async with session.get(f"http://127.0.0.1:{ports['http']}/metrics") as answer:
                        if set(lines) <= set((await answer.text()).splitlines()):
                            return

            await page_with("first 1", "b 2")
            file.write_text("mappings: [{match: a, name: second}]")
            process.send_signal(signal.SIGHUP)
            await logged(process, "mapping is in force")
            send(b"a:1|c")
            await page_with("first 1", "second 1")
            file.write_text("mappings: [{match: a}]")
            process.send_signal(signal.SIGHUP)
            refused = await logged(process, "mapping is refused, the last good one stays")
            assert "mappings[0].name" in refused["reason"]
            send(b"a:1|c")
            await page_with("second 2", 'statsd_exporter_config_reloads_total{outcome="failure"} 1.0')
        writer.close()
        await writer.wait_closed()
        process.terminate()
        assert await process.wait() == 0


async def test_a_bad_mapping_ends_it_with_one_sentence(tmp_path: Path):
    file = tmp_path / "mapping.yml"
    file.write_text("mappings: [{match: 'a b', name: c}]")
    for check in ((), ("--check-config",)):
        async with running(*ADDRESSES, "--mapping-config", str(file), *check) as process:
            _, errors = await process.communicate()
            assert process.returncode == 1
            assert errors.decode().startswith("isthmus: The mapping is refused: mappings[0].match: `a b`")
            assert errors.count(b"\n") == 1


async def test_a_good_mapping_is_told_of_and_nothing_is_served(tmp_path: Path):
    file = tmp_path / "mapping.yml"
    file.write_text("mappings: [{match: a, name: c}]")
    async with running("--check-config", "--mapping-config", str(file)) as process:
        output, _ = await process.communicate()
        assert (process.returncode, output) == (0, b"The mapping is in order: 1 mappings.\n")


async def test_nothing_to_listen_on_is_wrong_usage():
    async with running("--udp-address", "", "--tcp-address", "") as process:
        _, errors = await process.communicate()
        assert process.returncode == 2
        assert b"--udp-address" in errors
