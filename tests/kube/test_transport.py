"""What servers do that are none, or that are in trouble. Raw bytes over loopback."""

import asyncio
import gzip
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from isthmus.kube.access import Access
from isthmus.kube.client import running_client
from isthmus.kube.errors import ApiError, Unreachable
from isthmus.kube.kinds import SERVICE
from isthmus.kube.transport import running_transport
from tests.kube.fake_api import running_fake_api
from tests.kube.pki import Pair, issue, make_ca

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def running_oddity(answer: Answer) -> AsyncGenerator[Access]:
    """A server that reads one request a connection and then does as it is told."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
            writer.close()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        yield Access(f"http://{host}:{port}", token="s3cret")


async def listing(access: Access) -> None:
    async with running_client(access, timeout=0.2) as client:
        await client.list(SERVICE)


def sending(raw: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return answer


def http(status: str, body: bytes, **headers: str) -> bytes:
    lines = {"Content-Length": str(len(body))} | {
        key.replace("_", "-"): each for key, each in headers.items()
    }
    head = "".join(f"{key}: {each}\r\n" for key, each in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


LIST = b'{"items":[],"metadata":{"resourceVersion":"1"}}'
PACKED = gzip.compress(LIST * 1000)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no valid HTTP"),
        (http("200 OK", b"<html>portal</html>", Content_Type="text/html"), "no Kubernetes list"),
        (http("200 OK", LIST, Content_Length="999"), "broke off"),
        (http("200 OK", PACKED[:60], Content_Encoding="gzip"), "broke off|no Kubernetes list"),
        (http("200 OK", LIST, Content_Encoding="gzip"), "broke off or cannot be unpacked"),
        (http("200 OK", b""), "no Kubernetes list"),
    ],
)
async def test_nonsense_is_unreachable_with_a_plain_reason(raw: bytes, reason: str) -> None:
    async with running_oddity(sending(raw)) as access:
        with pytest.raises(Unreachable, match=reason) as caught:
            await listing(access)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "text", "retry_after"),
    [
        (http("401 Unauthorized", b'{"code":401,"reason":"Unauthorized"}'), "401 Unauthorized", None),
        (
            http("403 Forbidden", b'{"code":403,"reason":"Forbidden","message":"no list of services"}'),
            "403 Forbidden: no list of services",
            None,
        ),
        (http("429 Too Many Requests", b"slow down", Retry_After="7"), "429 TooManyRequests: slow down", 7.0),
        (http("503 Service Unavailable", b"", Retry_After="soon"), "503 ServiceUnavailable", None),
        (http("302 Found", b"", Location="http://127.0.0.1:1/"), "302 Found", None),
        (http("502 Bad Gateway", b"<html>"), "502 BadGateway: <html>", None),
    ],
)
async def test_a_refusal_keeps_its_status_and_words(raw: bytes, text: str, retry_after: float | None) -> None:
    async with running_oddity(sending(raw)) as access:
        with pytest.raises(ApiError) as caught:
            await listing(access)
    assert (str(caught.value), caught.value.retry_after) == (text, retry_after)


async def test_a_server_that_accepts_and_never_answers_is_noticed() -> None:
    async def hang(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    async with running_oddity(hang) as access:
        with pytest.raises(Unreachable, match=r"did not answer within 0\.2 s"):
            await listing(access)
        async with running_transport(access, timeout=0.05) as transport:
            with pytest.raises(Unreachable, match="did not answer"):
                async with transport.streaming("/api/v1/pods", {}):
                    pass


async def test_an_answer_that_drips_for_ever_is_given_up() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with running_oddity(drip) as access, running_transport(access, timeout=0.05) as transport:
        with pytest.raises(Unreachable, match="did not answer"):
            await transport.send("GET", "/api/v1/pods")


async def test_an_answer_without_end_is_bounded_unpacked() -> None:
    bomb = http("200 OK", gzip.compress(b" " * (32 << 20)), Content_Encoding="gzip")
    async with running_oddity(sending(bomb)) as access:
        with pytest.raises(Unreachable, match="larger than 1 MiB"):
            async with running_transport(access, timeout=5, most_bytes=1 << 20) as transport:
                await transport.send("GET", "/api/v1/pods")


async def test_nobody_there_is_said() -> None:
    with pytest.raises(Unreachable, match="no connection"):
        await listing(Access("http://127.0.0.1:1"))


async def test_bytes_of_a_stream_come_as_they_are_sent() -> None:
    sent = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{1}\n\r\n")
        await writer.drain()
        await sent.wait()
        writer.write(b"4\r\n{2}\n\r\n")
        await writer.drain()

    async with (
        running_oddity(answer) as access,
        running_transport(access, timeout=5) as transport,
        transport.streaming("/api/v1/pods", {"watch": "1"}) as chunks,
    ):
        assert await anext(chunks) == b"{1}\n"
        sent.set()
        assert await anext(chunks) == b"{2}\n"
        with pytest.raises(Unreachable, match="broke off"):
            await anext(chunks)


@pytest.fixture(scope="module")
def ca() -> Pair:
    return make_ca()


async def test_both_sides_prove_themselves_by_certificates(ca: Pair) -> None:
    me = issue(ca, "reader")
    tls = issue(ca, "api", "127.0.0.1").server_context(client_ca=ca)
    async with running_fake_api(SERVICE, tls=tls) as api:
        known = replace(api.access, ca_pem="# ünser CA\n".encode() + ca.cert_pem)
        await listing(replace(known, client_cert_pem=me.cert_pem, client_key_pem=me.key_pem))
        with pytest.raises(Unreachable):
            await listing(known)


async def test_an_unknown_authority_is_not_trusted_unless_a_person_says_so(ca: Pair) -> None:
    async with running_fake_api(SERVICE, tls=issue(ca, "api", "127.0.0.1").server_context()) as api:
        with pytest.raises(Unreachable, match=r"certificate is not trusted: .*(signature|issuer|self)"):
            await listing(replace(api.access, ca_pem=make_ca("another").cert_pem))
        await listing(replace(api.access, insecure=True))


async def test_a_server_is_known_by_another_name_where_the_access_says_so(ca: Pair) -> None:
    async with running_fake_api(SERVICE, tls=issue(ca, "api", "api.west").server_context()) as api:
        with pytest.raises(Unreachable, match=r"not trusted: .*mismatch"):
            await listing(replace(api.access, ca_pem=ca.cert_pem))
        await listing(replace(api.access, ca_pem=ca.cert_pem, tls_server_name="api.west"))


async def test_a_plain_server_behind_an_https_address_is_said(ca: Pair) -> None:
    async with running_fake_api(SERVICE) as api:
        with pytest.raises(Unreachable, match="no TLS connection"):
            await listing(replace(api.access, server=api.access.server.replace("http:", "https:")))


async def test_certificates_that_are_none_are_said_before_anything_is_sent() -> None:
    with pytest.raises(Unreachable, match="cannot be read"):
        await listing(Access("https://127.0.0.1:1", ca_pem=b"-----BEGIN CERTIFICATE-----"))
