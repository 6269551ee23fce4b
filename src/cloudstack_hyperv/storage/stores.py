r"""Stores by URL: where they lie for us, where for the host, and with which credentials.

CloudStack names a secondary store by URL (`cifs://10.1.1.5/secondary?user=..&password=..`) and an
SMB pool by host and path with the same query.  The query is split off before anything else and
never becomes part of a path or of a text that is shown.  Credentials of the configuration stand in
where no query arrives: HypervDirectConnectResource cuts it from the stores of a CopyCommand.

A configured store (`[[storage.stores]]`) matches by scheme, server and path without letter case,
and also matches what lies below it.  A store whose URL is not configured can still be known to the
*host*: `cifs://server/share/a` is `\\server\share\a` there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from cloudstack_hyperv.config import Secret, StoreSettings, resolve_secret
from cloudstack_hyperv.storage.host_files import HostFileError, PathNotReachable
from cloudstack_hyperv.storage.windows_paths import (
    BadWindowsPath,
    checked_path,
    folded,
    join_path,
)

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*)://(?P<server>[^/?#@\\]*)(?P<path>[/\\][^?]*)?", re.DOTALL
)
SMB_SCHEMES = frozenset({"cifs", "smb"})


class BadStoreUrl(HostFileError):
    """The text is not a store's URL; it is shown without its query."""


@dataclass(frozen=True, slots=True)
class StoreCredentials:
    """Login for a store's server."""

    user: str
    password: Secret
    domain: str = ""


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A store's URL in parts.  `str()` never shows credentials."""

    scheme: str
    """Lower case; `smb` is written `cifs`."""
    server: str
    """Host name or address, with `:port` if one was given; lower case."""
    names: tuple[str, ...]
    """Share and folders, or the exported path's folders."""
    credentials: StoreCredentials | None = field(default=None, compare=False)

    @classmethod
    def parse(cls, text: str) -> StoreUrl:
        """Read a URL; raises BadStoreUrl without repeating its query."""
        address, _, query = text.partition("?")
        match = _URL.fullmatch(address)
        if match is None or not match["server"]:
            raise BadStoreUrl(f"{_shown(address)} is not the URL of a store")
        names = tuple(
            unquote(name) for name in re.split(r"[/\\]", match["path"] or "") if name != ""
        )
        if any(name in (".", "..") for name in names):
            raise BadStoreUrl(f"{_shown(address)} steps out of its store")
        scheme = match["scheme"].lower()
        return cls(
            scheme="cifs" if scheme in SMB_SCHEMES else scheme,
            server=match["server"].lower(),
            names=names,
            credentials=credentials_in(query),
        )

    def contains(self, other: StoreUrl) -> bool:
        """Tell whether `other` is this store or a folder in it."""
        mine, theirs = _folded_names(self.names), _folded_names(other.names)
        return (
            self.scheme == other.scheme
            and self.server == other.server
            and theirs[: len(mine)] == mine
        )

    @property
    def unc(self) -> str | None:
        r"""`\\server\share\folder` for an SMB store, None for others; raises BadWindowsPath."""
        if self.scheme != "cifs" or not self.names:
            return None
        server = self.server.partition(":")[0]
        return checked_path("\\\\" + "\\".join((server, *self.names)))

    def __str__(self) -> str:
        return f"{self.scheme}://{'/'.join((self.server, *self.names))}"


@dataclass(frozen=True, slots=True)
class Store:
    """A store and the ways that lead to it."""

    url: StoreUrl
    root: str
    """Windows path that stands for the store in `HostFiles` of its own: its UNC name."""
    folder: str | None
    """Folder of the gateway that holds the store's content, None if no such way is configured."""
    host_root: str | None
    """Windows path under which the Hyper-V host itself sees the store, None if it does not."""
    credentials: StoreCredentials | None = None


class Stores:
    """The configured stores."""

    def __init__(self, settings: Iterable[StoreSettings]) -> None:
        """Read the store tables; raises BadStoreUrl for a URL that is none."""
        self._configured = [(StoreUrl.parse(store.url), store) for store in settings]

    def find(self, text: str) -> Store:
        """Return the store of a URL as CloudStack sends it; raises BadStoreUrl."""
        url = StoreUrl.parse(text)
        matches = [entry for entry in self._configured if entry[0].contains(url)]
        if not matches:
            return Store(url, _root_of(url), None, url.unc, url.credentials)
        base, settings = max(matches, key=lambda entry: len(entry[0].names))
        below = url.names[len(base.names) :]
        host_root = settings.host_path or base.unc
        return Store(
            url=replace(url, credentials=None),
            root=_root_of(url),
            folder="/".join((settings.folder.rstrip("/"), *below)) if settings.folder else None,
            host_root=join_path(host_root, *below) if host_root else None,
            credentials=url.credentials or _configured_credentials(settings),
        )

    def require_folder(self, text: str) -> Store:
        """Return a store that we can read and write ourselves; raises PathNotReachable."""
        store = self.find(text)
        if store.folder is None:
            raise PathNotReachable(
                f"no way leads to the store {store.url}: configure it under [[storage.stores]] "
                "with the folder that holds its content"
            )
        return store

    def require_host_root(self, text: str) -> str:
        """Return the Windows path under which the host sees the store; raises PathNotReachable."""
        store = self.find(text)
        if store.host_root is None:
            raise PathNotReachable(
                f"the Hyper-V host cannot read the store {store.url} itself: give its Windows path "
                "as host_path under [[storage.stores]]"
            )
        return store.host_root


def credentials_in(query: str) -> StoreCredentials | None:
    """Read `user=..&password=..&domain=..` of a store's query, None if it names no user.

    The management server appends `/?ROLE=..` to a pool's URL; that is not part of a value.  A
    value may contain `=`; `%XX` is decoded, `+` is not (java.net.URI.getQuery does the same).
    """
    values: dict[str, str] = {}
    for part in query.partition("/?")[0].split("&"):
        name, equals, value = part.partition("=")
        if equals:
            values.setdefault(name.lower(), unquote(value))
    user = values.get("user") or values.get("username")
    if not user:
        return None
    return StoreCredentials(user, Secret(values.get("password", "")), values.get("domain", ""))


def _configured_credentials(settings: StoreSettings) -> StoreCredentials | None:
    if not settings.user:
        return None
    password = resolve_secret(settings.password, purpose=f"store {settings.url}")
    return StoreCredentials(settings.user, password, settings.domain or "")


def _root_of(url: StoreUrl) -> str:
    """Return the UNC-like path by which a store's files are named while we work on them."""
    server = re.sub(r"[^a-z0-9.\-]", "-", url.server.partition(":")[0]).strip("-.") or "store"
    try:
        return checked_path("\\\\" + "\\".join((server, *(url.names or ("store",)))))
    except BadWindowsPath as error:
        raise BadStoreUrl(f"the store {url} cannot be used: {error}") from error


def _folded_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(folded(name) for name in names)


def _shown(address: str) -> str:
    """Quote an address without a login that somebody put before the server's name."""
    return ascii(re.sub(r"//[^/]*@", "//***@", address)[:200])
