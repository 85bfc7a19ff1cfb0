"""The two ends of the demonstration's traffic, over loopback."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from isthmus.lab.demo.observe import Answer, Observed, running_prober
from isthmus.lab.node.enter import Entrance


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@asynccontextmanager
async def running_echo(port: int, **environment: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    who = {"CLUSTER": "west", "NAMESPACE": "demo", "POD": "echo-1", "SERVICE_ACCOUNT": "default"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "isthmus.lab.echo"),
        env={**os.environ, **who, "PORT": str(port), **environment},
    )
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                await writer.wait_closed()
                break
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def probing(port: int) -> Entrance:
    command = [sys.executable, "-m", "isthmus.lab.prober", f"http://127.0.0.1:{port}/"]
    return Entrance(command, dict(os.environ))


async def exchange(port: int, request: bytes) -> tuple[bytes, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


async def test_echo_says_who_it_is_and_what_it_heard() -> None:
    port = free_port()
    async with running_echo(port):
        request = b"POST / HTTP/1.1\r\nHost: echo.demo\r\nX-Word: hi\r\nContent-Length: 2\r\n\r\nab"
        last = b"GET / HTTP/1.1\r\nHost: echo.demo\r\nConnection: close\r\n\r\n"
        _, body = await exchange(port, request + last)
    said = json.loads(body.partition(b"\n")[0])
    assert said["headers"]["x-word"] == "hi"
    assert (said["cluster"], said["namespace"], said["pod"]) == ("west", "demo", "echo-1")
    assert said["serviceAccount"] == "default"
    assert body.count(b"HTTP/1.1 200") == 1  # the second answer, on the kept connection


async def test_prober_sees_answers_failures_and_recovery() -> None:
    port = free_port()
    async with running_prober(probing(port)) as observed:
        await observed.first(lambda answer: bool(answer.failed), 0.0)
        async with running_echo(port):
            answer = await observed.first(lambda answer: answer.who == "west/demo/echo-1", 0.0)
            assert await observed.sample(5) == {"west/demo/echo-1": 5}
        await observed.first(lambda later: bool(later.failed), answer.at)


async def test_stopping_echo_answers_until_it_has_drained() -> None:
    port = free_port()
    async with running_echo(port, DRAIN_SECONDS="0.3") as echo, running_prober(probing(port)) as observed:
        await observed.sample(1)
        start = len(observed.answers)
        echo.send_signal(signal.SIGTERM)
        assert await echo.wait() == 0
    drained = [answer for answer in observed.answers if answer.who]
    assert drained[-1].at - observed.answers[start - 1].at > 0.2


async def test_first_answer_without_unwanted_ones_is_found() -> None:
    observed = Observed()
    for number in range(10):
        observed.add(Answer(float(number), "east/demo/a" if number in (1, 3) else "west/demo/b", ""))
    assert (await observed.without(lambda answer: answer.cluster == "east", 2.0, quiet=5)).at == 4.0
    assert (await observed.without(lambda answer: answer.cluster == "east", 5.0, quiet=5)).at == 5.0
