"""A real Envoy asks a real server: what only both together can tell."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

from isthmus.lib.address import HostPort
from tests.policy.building import DENY, denies, policy, rulebook
from tests.policy.serving import running_envoy, serving, serving_echo

RULE = "demo/guard/rule-0"
RULES = policy(
    denies('request.headers["x-user"] == "mallory"', deny={"message": "Not you"}),
    {"when": 'request.url_path == "/few"', "quota": {"max": 1, "window": "1m"}},
    {
        "headers": {
            "request": {
                "add": [{"name": "x-multi", "value": "ours"}],
                "set": [{"name": "x-by", "expression": "destination.workload"}],
                "remove": ["x-secret"],
            },
            "response": {"add": [{"name": "x-answered", "value": "yes"}]},
        }
    },
)


async def test_denial_names_itself_and_headers_change_on_their_way(tmp_path: Path) -> None:
    async with (
        serving(rulebook(RULES)) as port,
        serving_echo() as app,
        running_envoy(tmp_path / "e", policy_port=port, app_port=app, failure_mode_allow=False) as envoy,
    ):
        denied = await envoy.get(x_user="mallory")
        assert (denied.status, denied.headers["x-isthmus-policy"]) == (403, "demo/guard/rule-0")
        assert denied.text == "Not you (policy demo/guard/rule-0: its condition holds)\n"
        allowed = await envoy.get(x_user="joe", x_secret="s", x_multi="theirs", x_by="forged")
        seen = json.loads(allowed.text)
        assert (allowed.status, allowed.headers["x-answered"]) == (200, "yes")
        assert (seen["x-by"], "x-secret" in seen) == ("echo", False)
        assert seen["x-multi"].replace(" ", "") == "theirs,ours"
        assert [(await envoy.get("/few")).status for _ in range(2)] == [200, 429]


async def test_a_connection_is_held_to_the_rules_that_read_no_request_and_no_header_moves_its_source(
    tmp_path: Path,
) -> None:
    about_all = 'destination.service == "echo.demo.svc.cluster.local" && source.ip != "127.0.0.1"'
    book = rulebook(policy(denies(about_all), denies('request.headers["x-no"] == "yes"', absent="match")))
    async with (
        serving(book) as port,
        serving_echo() as app,
        running_envoy(tmp_path / "e", policy_port=port, app_port=app, failure_mode_allow=False) as envoy,
    ):
        assert (await envoy.get()).headers["x-isthmus-policy"] == "demo/guard/rule-1"
        assert (await envoy.get(x_no="no", x_forwarded_for="6.6.6.6")).status == 200
        assert b"200 OK" in await spoken(envoy.tcp_port)
        book.apply(policy(denies('source.ip == "127.0.0.1" && destination.labels["app"] == "echo"')))
        assert await spoken(envoy.tcp_port) == b""


async def spoken(port: int) -> bytes:
    """What a connection without an HTTP filter brings back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: echo\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_killed_server_fails_open_or_closed_as_configured_until_it_is_back(tmp_path: Path) -> None:
    book = rulebook(policy(DENY))
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(serving_echo())
        async with serving(book) as port:
            opened, closed = [
                await stack.enter_async_context(
                    running_envoy(
                        tmp_path / str(mode), policy_port=port, app_port=app, failure_mode_allow=mode
                    )
                )
                for mode in (True, False)
            ]
            assert [(await one.get()).headers["x-isthmus-policy"] for one in (opened, closed)] == [RULE, RULE]
        assert [(await one.get()).status for one in (opened, closed)] == [200, 403]
        assert "x-isthmus-policy" not in (await closed.get()).headers
        async with serving(book, HostPort("127.0.0.1", port)), asyncio.timeout(10):
            for one in (opened, closed):
                await one.until_denied_by(RULE)
