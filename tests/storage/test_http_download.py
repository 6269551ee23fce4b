"""Downloads from real web servers on loopback: limits, redirects, logins, lost connections."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
import structlog
import trustme
from aiohttp import web

from cloudstack_hyperv.storage import http_download
from cloudstack_hyperv.storage.host_files import HostFileError, HostFileNotFound
from cloudstack_hyperv.storage.http_download import DownloadFailed, DownloadRefused, download

LOOPBACK = ("127.0.0.0/8", "::1/128")
CONTENT = bytes(range(256)) * 20000
LARGEST = 1 << 30

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Server:
    """A web server with one handler, and what it was asked."""

    url: str
    requests: list[web.Request] = field(default_factory=list)


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server("")

    async def noted(request: web.Request) -> web.StreamResponse:
        server.requests.append(request)
        return await handler(request)

    application = web.Application()
    application.router.add_get("/{path:.*}", noted)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()


async def fetched(url: str, *, largest: int = LARGEST) -> bytes:
    async with download(url, largest=largest, allowed=LOOPBACK) as stream:
        return b"".join([data async for data in stream.chunks()])


async def whole(_: web.Request) -> web.Response:
    return web.Response(body=CONTENT, headers={"ETag": '"one"'})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_download, "PAUSE", 0.01)


async def test_a_file_is_fetched_with_its_name_and_size() -> None:
    async with serving(whole) as server:
        url = f"{server.url}/images/a%20b.vhdx.gz?token=secret#x"
        async with download(url, largest=LARGEST, allowed=LOOPBACK) as stream:
            assert (stream.name, stream.size) == ("a b.vhdx.gz", len(CONTENT))
            assert b"".join([data async for data in stream.chunks()]) == CONTENT
    assert server.requests[0].query_string == "token=secret"
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


async def test_what_is_not_there_is_not_found() -> None:
    async def missing(_: web.Request) -> web.Response:
        return web.Response(status=404)

    async with serving(missing) as server:
        with pytest.raises(HostFileNotFound, match="404"):
            await fetched(f"{server.url}/a.vhdx?token=hunter2")


@pytest.mark.parametrize("status", [204, 206, 400, 401, 403, 500, 503])
async def test_other_answers_fail(status: int) -> None:
    async def answers(_: web.Request) -> web.Response:
        return web.Response(status=status)

    async with serving(answers) as server:
        with pytest.raises(DownloadFailed, match=str(status)):
            await fetched(f"{server.url}/a.vhdx")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/a.vhdx",
        "http://[::1]:1/a.vhdx",
        "http://[::ffff:127.0.0.1]:1/a.vhdx",
        "http://localhost:1/a.vhdx",
        "http://169.254.169.254/latest/meta-data",
        "http://0.0.0.0/a.vhdx",
        "http://224.0.0.1/a.vhdx",
        "http://[fe80::1]/a.vhdx",
        "ftp://192.0.2.1/a.vhdx",
        "file:///etc/passwd",
        "http:///a.vhdx",
        "nonsense",
        "http://user:hunter2@192.0.2.1/a.vhdx",
    ],
)
async def test_addresses_of_which_nothing_is_fetched(url: str) -> None:
    with pytest.raises(DownloadRefused) as caught:
        async with download(url, largest=LARGEST):
            pytest.fail("it was opened")
    assert "hunter2" not in str(caught.value)


async def test_redirects_are_followed_but_not_for_ever_and_not_anywhere() -> None:
    async def redirects(request: web.Request) -> web.StreamResponse:
        match request.path:
            case "/loop":
                raise web.HTTPFound("/loop")
            case "/twice":
                raise web.HTTPMovedPermanently("/once")
            case "/once":
                raise web.HTTPTemporaryRedirect("there/a.vhdx")
            case "/meta":
                raise web.HTTPFound("http://169.254.169.254/latest")
            case "/scheme":
                raise web.HTTPFound("file:///etc/passwd")
            case "/login":
                raise web.HTTPFound("http://user:hunter2@192.0.2.7/a.vhdx")
            case "/nowhere":
                return web.Response(status=302)
        return await whole(request)

    async with serving(redirects) as server:
        assert await fetched(f"{server.url}/twice") == CONTENT
        assert server.requests[-1].path == "/there/a.vhdx"
        for path, reason in (
            ("loop", "more than 5 redirects"),
            ("meta", "169.254.169.254"),
            ("scheme", "no http or https"),
            ("login", "carries a login"),
            ("nowhere", "leads nowhere"),
        ):
            with pytest.raises(DownloadRefused, match=reason) as caught:
                await fetched(f"{server.url}/{path}")
            assert "hunter2" not in str(caught.value)


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's certificate that this process believes."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    client = ssl.create_default_context()
    ca.configure_trust(client)
    connector = aiohttp.TCPConnector
    monkeypatch.setattr(aiohttp, "TCPConnector", lambda **options: connector(**options, ssl=client))
    return context


async def test_a_login_goes_to_its_own_server_only(authority: ssl.SSLContext) -> None:
    wanted = "Basic " + base64.b64encode(b"user:hunter2").decode()
    async with serving(whole, authority) as other:

        async def redirects(request: web.Request) -> web.StreamResponse:
            if request.path == "/away":
                raise web.HTTPFound(f"{other.url}/a.vhdx")
            if request.headers.get("Authorization") != wanted:
                return web.Response(status=401)
            return await whole(request)

        async with serving(redirects, authority) as server:
            secret = server.url.replace("//", "//user:hunter2@")
            with structlog.testing.capture_logs() as logs:
                assert await fetched(f"{secret}/a.vhdx") == CONTENT
                assert await fetched(f"{secret}/away") == CONTENT
    assert "Authorization" not in other.requests[0].headers
    assert "hunter2" not in str(logs)


async def test_https_is_not_redirected_to_http(authority: ssl.SSLContext) -> None:
    async def redirects(_: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("http://192.0.2.7/a.vhdx")

    async with serving(redirects, authority) as server:
        with pytest.raises(DownloadRefused, match="https is redirected to http"):
            await fetched(f"{server.url}/a.vhdx")


async def test_a_certificate_that_nobody_knows_is_refused() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with serving(whole, context) as server:
        with pytest.raises(DownloadFailed, match="cannot be reached"):
            await fetched(f"{server.url}/a.vhdx")


async def test_a_server_that_is_not_there_fails() -> None:
    async with serving(whole) as server:
        url = server.url
    with pytest.raises(DownloadFailed, match="cannot be reached"):
        await fetched(f"{url}/a.vhdx")


def breaking(pieces: list[int], *, validator: str | None = '"one"', total: str = "") -> Handler:
    """Serve the file, each time only up to so many bytes, and understand ranges."""
    lengths = iter(pieces)

    async def handler(request: web.Request) -> web.StreamResponse:
        start, status = 0, 200
        headers = {"ETag": validator} if validator else {}
        if "Range" in request.headers and request.headers.get("If-Range") == validator:
            start, status = int(request.headers["Range"].removeprefix("bytes=").rstrip("-")), 206
            end = len(CONTENT)
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{total or end}"
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(CONTENT) - start
        await response.prepare(request)
        length = next(lengths, len(CONTENT))
        await response.write(CONTENT[start : start + length])
        if start + length < len(CONTENT):
            await asyncio.sleep(0.05)
            assert request.transport is not None
            request.transport.abort()
        return response

    return handler


async def test_a_lost_connection_is_resumed_where_it_broke() -> None:
    async with serving(breaking([1 << 20, 1 << 20])) as server:
        assert await fetched(f"{server.url}/a.vhdx") == CONTENT
    ranges = [request.headers.get("Range") for request in server.requests]
    assert ranges[0] is None
    assert len(ranges) == 3
    assert all(text is not None and text.startswith("bytes=") for text in ranges[1:])


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (breaking([1 << 20], validator=None), "does not tell whether"),
        (breaking([1 << 20], validator='W/"weak"'), "does not tell whether"),
        (breaking([1 << 20], total="7"), "another length"),
        (breaking([1 << 20, 0, 0, 0, 0, 0, 0, 0]), "connection was lost"),
    ],
)
async def test_a_lost_connection_that_cannot_be_resumed_fails(
    handler: Handler, reason: str
) -> None:
    async with serving(handler) as server:
        with pytest.raises(DownloadFailed, match=reason):
            await fetched(f"{server.url}/a.vhdx")


async def test_a_file_that_changed_meanwhile_is_not_patched_together() -> None:
    tags = iter(['"one"', '"two"'])

    async def changes(request: web.Request) -> web.StreamResponse:
        return await breaking([1 << 20], validator=next(tags))(request)

    async with serving(changes) as server:
        with pytest.raises(DownloadFailed, match="changed, or is not sent in parts"):
            await fetched(f"{server.url}/a.vhdx")


async def test_a_server_that_stops_sending_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_download, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(http_download, "RESUMPTIONS", 1)

    async def sleeps(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"ETag": '"one"'})
        await response.prepare(request)
        await asyncio.sleep(5)
        return response

    async with serving(sleeps) as server:
        with pytest.raises(HostFileError, match="lost"):
            await fetched(f"{server.url}/a.vhdx")


async def test_more_than_the_limit_is_refused_announced_or_not() -> None:
    async def unannounced(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(CONTENT)
        return response

    for handler in (whole, unannounced):
        async with serving(handler) as server:
            with pytest.raises(DownloadRefused, match="download_limit_gib"):
                await fetched(f"{server.url}/a.vhdx", largest=1 << 20)


async def test_an_encoded_body_is_refused() -> None:
    async def encoded(_: web.Request) -> web.Response:
        return web.Response(body=b"x", headers={"Content-Encoding": "gzip"})

    async with serving(encoded) as server:
        with pytest.raises(DownloadRefused, match="encodes"):
            await fetched(f"{server.url}/a.vhdx")
