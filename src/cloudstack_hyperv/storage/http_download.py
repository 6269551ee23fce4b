"""Templates from web servers: one GET, read once, resumed where the connection is lost.

The address comes from a user of the cloud, and what is fetched runs as his VM, so the server is
trusted with nothing:

* Only http and https, certificates checked, and https never redirects to http.
* No more than `REDIRECTS` redirects, each looked at like the first address.  Loopback, link-local
  (where clouds keep their metadata) and multicast addresses are refused unless the configuration
  allows them; what a name resolves to counts, at the moment of connecting.
* A login in the address is sent over https only, to that server only, and shows in no text.
* A body is as long as the server said, or the copy fails, and never longer than the limit.
* Every read has a deadline; the whole has that of the command.

A lost connection is resumed by a range request if the server says by ETag or Last-Modified that
the file is the same.  Sources: RFC 9110 (13.1.5 If-Range, 14 ranges, 15.4 redirects).
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from cloudstack_hyperv.storage.host_files import HostFileError, HostFileNotFound

log = structlog.get_logger(__name__)

CHUNK: Final = 1 << 20
REDIRECTS: Final = 5
RESUMPTIONS: Final = 5
"""Times in a row that a lost connection is made again without a byte received."""
PAUSE: Final = 1.0
"""Seconds before a lost connection is made again."""
CONNECT_SECONDS: Final = 30.0
IDLE_SECONDS: Final = 60.0
"""Seconds without a byte after which a connection counts as lost."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_RANGE: Final = re.compile(r"bytes (?P<start>\d+)-\d+/(?P<total>\d+|\*)")
_LOST: Final = (
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
    aiohttp.SocketTimeoutError,
    TimeoutError,
)


class DownloadRefused(HostFileError):
    """The address, or what the server answers, is not what may be fetched."""


class DownloadFailed(HostFileError):
    """The server cannot be reached, or its answer broke off for good."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the first answer said of the file."""

    url: URL
    """After redirects, without a login."""
    size: int | None
    validator: str | None
    """Strong ETag or Last-Modified, for If-Range; None: not to be resumed."""


class HttpDownload:
    """A file on a web server, as `ByteStream`."""

    def __init__(
        self, session: aiohttp.ClientSession, guard: _Guard, url: URL, largest: int
    ) -> None:
        self._session = session
        self._guard = guard
        self._first = url
        self._largest = largest
        self._response: aiohttp.ClientResponse | None = None
        self._answer = _Answer(url, None, None)

    @property
    def name(self) -> str:
        """The file's name, by the address that was asked for."""
        return unquote(self._first.path.rpartition("/")[2]) or "download"

    @property
    def size(self) -> int | None:
        """Bytes, None if the server does not say."""
        return self._answer.size

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the file's bytes, over as many connections as it takes."""
        received = failures = 0
        while True:
            before = received
            try:
                async for data in self._pieces():
                    received += len(data)
                    self._require_within_limit(received)
                    yield data
            except _LOST as error:
                failures = 1 if received > before else failures + 1
                if failures > RESUMPTIONS:
                    raise DownloadFailed(
                        f"{self._shown}: the connection was lost: {_text(error)}"
                    ) from error
                await self._resume(received, _text(error))
                continue
            if self.size is not None and received != self.size:
                raise DownloadFailed(f"{self._shown}: {received} of {self.size} bytes came")
            return

    async def open(self) -> None:
        """Ask for the file; raises DownloadRefused, DownloadFailed, HostFileNotFound."""
        try:
            self._response = await self._follow()
        except _LOST as error:
            raise DownloadFailed(f"{self._shown} cannot be reached: {_text(error)}") from error
        headers = self._response.headers
        encoding = headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise DownloadRefused(f"{self._shown}: the server encodes the file as {encoding!r}")
        tag = headers.get("ETag")
        validator = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")
        self._answer = _Answer(self._response.url, self._response.content_length, validator)
        self._require_within_limit(self._response.content_length or 0)

    def close(self) -> None:
        """Give the connection up."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def _require_within_limit(self, length: int) -> None:
        if length > self._largest:
            raise DownloadRefused(
                f"{self._shown} is larger than {self._largest >> 30} GiB "
                "(storage.download_limit_gib)"
            )

    @property
    def _shown(self) -> str:
        return shown(self._first)

    async def _pieces(self) -> AsyncIterator[bytes]:
        if self._response is None:
            raise DownloadFailed(f"{self._shown}: the download was not opened")
        async for data in self._response.content.iter_chunked(CHUNK):
            yield data

    async def _follow(self) -> aiohttp.ClientResponse:
        """Send the request on to where redirects lead; return the answer with the file."""
        url = self._first
        for _ in range(REDIRECTS + 1):
            response = await self._get(url, {})
            if response.status not in _REDIRECTS:
                return _checked(response, self._shown)
            location = response.headers.get("Location")
            response.close()
            if not location:
                raise DownloadRefused(f"{self._shown}: a redirect leads nowhere")
            following = url.join(URL(location))
            if url.scheme == "https" and following.scheme != "https":
                raise DownloadRefused(f"{self._shown}: https is redirected to {following.scheme}")
            if following.user is not None:
                raise DownloadRefused(f"{self._shown}: a redirect carries a login")
            url = following
        raise DownloadRefused(f"{self._shown}: more than {REDIRECTS} redirects")

    async def _get(self, url: URL, headers: dict[str, str]) -> aiohttp.ClientResponse:
        self._guard.check(url)
        login = None
        if self._first.user is not None and url.origin() == self._first.with_user(None).origin():
            login = aiohttp.encode_basic_auth(self._first.user, self._first.password or "")
        sent = {"Accept-Encoding": "identity", **headers}
        if login is not None:
            sent["Authorization"] = login
        return await self._session.get(
            url.with_user(None).with_fragment(None), headers=sent, allow_redirects=False
        )

    async def _resume(self, received: int, reason: str) -> None:
        """Ask for the rest; raises DownloadFailed where that could be the rest of another file."""
        self.close()
        if self._answer.validator is None and received:
            raise DownloadFailed(
                f"{self._shown}: the connection was lost ({reason}), and the server does not tell "
                "whether the rest would be of the same file"
            )
        log.info("resuming a download", url=self._shown, received=received, reason=reason)
        await asyncio.sleep(PAUSE)
        headers = {"Range": f"bytes={received}-"} if received else {}
        if received and self._answer.validator:
            headers["If-Range"] = self._answer.validator
        try:
            response = await self._get(self._answer.url, headers)
        except _LOST:
            return  # The next read meets it, and counts it.
        if not received:
            self._response = _checked(response, self._shown)
            return
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        total = match["total"] if match else "*"
        if response.status != 206 or match is None or int(match["start"]) != received:
            response.close()
            raise DownloadFailed(f"{self._shown}: the file changed, or is not sent in parts")
        if self.size is not None and total != "*" and int(total) != self.size:
            response.close()
            raise DownloadFailed(f"{self._shown}: the file has another length now")
        self._response = response


@asynccontextmanager
async def download(
    text: str, *, largest: int, allowed: Iterable[str] = ()
) -> AsyncIterator[HttpDownload]:
    """Open a file of at most `largest` bytes on a web server for the block.

    `allowed` are networks ("127.0.0.0/8") that would be refused otherwise.  Raises
    DownloadRefused, DownloadFailed, HostFileNotFound.
    """
    url = _parsed(text)
    guard = _Guard(allowed)
    connector = aiohttp.TCPConnector(resolver=_GuardedResolver(guard), limit=2)
    timeout = aiohttp.ClientTimeout(
        total=None, connect=CONNECT_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=IDLE_SECONDS
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"User-Agent": "cloudstack-hyperv"},
    ) as session:
        found = HttpDownload(session, guard, url, largest)
        try:
            await found.open()
            yield found
        finally:
            found.close()


def shown(url: URL) -> str:
    """Return an address without login, query and fragment, which may hold secrets."""
    if not url.host:
        return "an address without a server"
    return str(url.with_user(None).with_query(None).with_fragment(None))[:300]


class _Guard:
    """Which addresses may be connected to."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = [ipaddress.ip_network(network) for network in allowed]

    def check(self, url: URL) -> None:
        """Raise DownloadRefused for an address that may not be asked, before it is resolved."""
        if url.scheme not in ("http", "https") or not url.host:
            raise DownloadRefused(f"{shown(url)} is no http or https address")
        try:
            address = ipaddress.ip_address(url.host)
        except ValueError:
            return
        self.check_address(str(address), url.host)

    def check_address(self, text: str, host: str) -> None:
        """Raise DownloadRefused for an IP address of which nothing may be fetched."""
        address = ipaddress.ip_address(text.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address.version == net.version and address in net for net in self._allowed):
            return
        if (
            address.is_loopback
            or address.is_link_local
            or address.is_multicast
            or address.is_unspecified
            or address.is_reserved
        ):
            raise DownloadRefused(
                f"{host} is {address}, of which nothing is downloaded; storage.download_allow "
                "lists exceptions"
            )


class _GuardedResolver(AbstractResolver):
    """Resolves names, and refuses addresses at the moment of connecting."""

    def __init__(self, guard: _Guard) -> None:
        self._guard = guard
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        for each in found:
            self._guard.check_address(each["host"], host)
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _parsed(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError:
        raise DownloadRefused("the text is not the address of a file") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise DownloadRefused(f"{shown(url)} is no http or https address")
    if url.user is not None and url.scheme != "https":
        raise DownloadRefused(f"{shown(url)} has a login, which is only sent over https")
    return url


def _checked(response: aiohttp.ClientResponse, address: str) -> aiohttp.ClientResponse:
    if response.status == 200:
        return response
    response.close()
    if response.status in (404, 410):
        raise HostFileNotFound(f"{address} does not exist ({response.status})")
    raise DownloadFailed(f"{address}: the server answers {response.status}")


def _text(error: BaseException) -> str:
    return type(error).__name__ if not str(error) else str(error)[:200]
