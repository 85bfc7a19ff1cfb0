"""Lists: how entries compare, and how those behind a URL are followed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiohttp import web

from isthmus.config.policy import ListKind
from isthmus.policy import feeds
from isthmus.policy.lists import EntryRefused, read_entries, read_lines
from isthmus.policy.rules import ListSource
from tests.policy.building import check_request, denied_by, policy, rulebook


@pytest.mark.parametrize(
    ("kind", "entries", "held", "others"),
    [
        (ListKind.STRING, ["a", "B"], ["a", "B"], ["A", "", "ab"]),
        (ListKind.CIDR, ["10.0.0.0/8"], ["10.9.9.9", "::ffff:10.1.1.1"], ["11.0.0.1", "nonsense", "", "::"]),
        (ListKind.CIDR, ["192.0.2.7", "fd00::/8"], ["192.0.2.7", "fd12::1"], ["192.0.2.8", "fe80::1"]),
        (ListKind.CIDR, ["0.0.0.0/0"], ["1.2.3.4"], ["::1"]),
        (ListKind.REGEX, ["a+", "b|c"], ["aaa", "b", "c"], ["ab", "", "xa"]),
        (ListKind.REGEX, [], [], [""]),
        (ListKind.REGEX, ['"\\\\\\n"'], ['"\\\n"'], ['""']),
    ],
)
def test_values_are_on_the_list_or_not(
    kind: ListKind, entries: list[str], held: list[str], others: list[str]
) -> None:
    found = read_entries(kind, entries)
    assert [found.holds(one) for one in held] == [True] * len(held)
    assert [found.holds(one) for one in others] == [False] * len(others)


@pytest.mark.parametrize(
    ("kind", "entries", "index"),
    [
        (ListKind.CIDR, ["10.0.0.0/8", "10.0.0.1/8"], 1),
        (ListKind.CIDR, ["::ffff:10.0.0.0/104"], 0),
        (ListKind.REGEX, ["a", "[", "b"], 1),
        (ListKind.REGEX, ["a"] * 101, 100),
        (ListKind.REGEX, ["x" * 500] * 20, 19),
    ],
)
def test_a_bad_entry_is_refused_by_its_place(kind: ListKind, entries: list[str], index: int) -> None:
    with pytest.raises(EntryRefused) as refusal:
        read_entries(kind, entries)
    assert refusal.value.index == index


def test_a_file_has_an_entry_a_line_and_comments() -> None:
    assert read_lines(ListKind.STRING, "# who\n\n a \r\nb\n").holds("a")


@dataclass(slots=True)
class Site:
    """A list somewhere; `body` None answers 500."""

    url: str = ""
    body: bytes | None = b""
    asked: int = 0


@asynccontextmanager
async def serving_list() -> AsyncGenerator[Site]:
    site = Site()

    async def answer(_: web.Request) -> web.Response:
        site.asked += 1
        return web.Response(status=500) if site.body is None else web.Response(body=site.body)

    app = web.Application()
    app.router.add_get("/list", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.url = f"http://127.0.0.1:{runner.addresses[0][1]}/list"
    try:
        yield site
    finally:
        await runner.cleanup()


async def until(site: Site, asked: int) -> None:
    async with asyncio.timeout(10):
        while site.asked < asked:  # noqa: ASYNC110 - another task's server counts
            await asyncio.sleep(0.01)


async def test_a_list_is_followed_and_its_last_good_version_outlives_failures() -> None:
    async with serving_list() as site, feeds.running_feeds() as followed:
        source = ListSource(site.url, ListKind.CIDR, 0.05, 5.0)
        site.body = b"10.0.0.0/8\n"
        followed.want({source})
        (feed,) = followed.status()
        assert followed.entries(source) is None
        await feed.tried.wait()
        for bad, reason in (
            (None, "it answered 500"),
            (b"10.0.0.0/8\nnonsense\n", "entry 2: "),
            (b"\xff", "it is no UTF-8"),
            (b"1" * (feeds.MOST_BYTES + 1), "it has more than"),
        ):
            site.body, asked = bad, site.asked
            await until(site, asked + 2)
            assert feed.error.startswith(reason)
            entries = followed.entries(source)
            assert entries is not None
            assert entries.holds("10.1.1.1")
        site.body, asked = b"11.0.0.0/8", site.asked
        await until(site, asked + 3)
        entries = followed.entries(source)
        assert entries is not None
        assert (entries.holds("10.1.1.1"), entries.holds("11.1.1.1"), feed.error) == (False, True, "")
        followed.want(())
        assert (followed.status(), followed.entries(source)) == ([], None)


async def test_no_list_is_read_from_a_link_local_address() -> None:
    """Metadata services of clouds are there, by IPv4 and by the same address within IPv6."""
    async with feeds.running_feeds() as followed:
        hosts = ("169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]")
        followed.want({ListSource(f"http://{host}/latest", ListKind.STRING, 60.0, 5.0) for host in hosts})
        for feed in followed.status():
            await feed.tried.wait()
            assert "is link-local" in feed.error
            assert feed.entries is None


async def test_rules_that_want_one_list_share_it_and_an_unread_list_holds_nothing() -> None:
    def listing(mode: str) -> dict[str, object]:
        return {"list": {"value": "source.ip", "kind": "cidr", "url": "http://lists/", "mode": mode}}

    book = rulebook(policy(listing("deny")), policy(listing("allow"), name="other"))
    (source,) = book.sources()
    assert await denied_by(book, check_request()) == "demo/other/rule-0"
    on_it = {source: read_entries(ListKind.CIDR, ["10.0.0.0/8"])}
    assert await denied_by(book, check_request(), lists=on_it) == "demo/guard/rule-0"
