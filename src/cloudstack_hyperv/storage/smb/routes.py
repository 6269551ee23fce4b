r"""From a Windows path to server, share and the name below the share.

A path of the host goes by the deepest configured share that holds it (`D:\CloudStack` is
`\\host\cloudstack$`), else by the administrative share of its drive (`C:\x` is `\\host\C$\x`).  A
UNC path goes to the server that it names, with the login known for it: the host's own, one from
`[[storage.stores]]`, or one that came with a pool's URL.  A server without a known login is not
asked: nobody's password goes where no configuration sends it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from cloudstack_hyperv.config import (
    HostSettings,
    SmbSettings,
    StoreSettings,
    resolve_secret,
)
from cloudstack_hyperv.storage.host_files import HostFileError, PathNotReachable
from cloudstack_hyperv.storage.smb.server import DEFAULT_PORT, SmbServer
from cloudstack_hyperv.storage.stores import StoreCredentials, StoreUrl
from cloudstack_hyperv.storage.windows_paths import (
    checked_component,
    checked_path,
    folded,
    relative_to,
    split_path,
)


@dataclass(frozen=True, slots=True)
class SmbPlace:
    """Where a path lies."""

    server: SmbServer
    share: str
    name: str
    r"""Below the share, `\` between names; empty for the share itself."""
    path: str
    """The Windows path, for texts."""


@dataclass(frozen=True, slots=True)
class SmbRoute:
    """A Windows folder that is a share, or a folder in one."""

    root: str
    server: SmbServer
    share: str
    folder: tuple[str, ...] = ()


class SmbRoutes:
    """The ways to one host's files.  May be used by many threads."""

    def __init__(
        self,
        routes: Iterable[SmbRoute] = (),
        *,
        drives: SmbServer | None = None,
        own_names: Iterable[str] = (),
    ) -> None:
        """Know `routes`; `drives` is the host whose drives are reached by administrative shares.

        `own_names` are names and addresses by which a UNC path can mean that host.
        """
        self._routes = {folded(route.root): route for route in routes}
        self._drives = drives
        self._own = {folded(name): drives for name in own_names} if drives else {}
        self._lock = threading.Lock()

    @classmethod
    def of_host(cls, host: HostSettings, stores: Iterable[StoreSettings] = ()) -> SmbRoutes:
        """Return the routes that the configuration describes.

        Raises ConfigurationError for a missing secret, BadWindowsPath, BadStoreUrl.
        """
        routes = [route for store in stores if (route := _store_route(store)) is not None]
        if host.smb is None:
            return cls(routes)
        server = host_server(host, host.smb)
        routes += [
            SmbRoute(checked_path(entry.host_path), server, checked_component(entry.share))
            for entry in host.smb.shares
        ]
        return cls(
            routes,
            drives=server if host.smb.admin_shares else None,
            own_names={server.address, host.winrm.address, host.name},
        )

    def place_of(self, path: str) -> SmbPlace:
        """Return where `path` lies; raises PathNotReachable, BadWindowsPath."""
        spelled = checked_path(path)
        with self._lock:
            routes = list(self._routes.values())
        below = [
            (route, names)
            for route in routes
            if (names := relative_to(spelled, route.root)) is not None
        ]
        if below:
            route, names = min(below, key=lambda found: len(found[1]))
            return SmbPlace(route.server, route.share, "\\".join((*route.folder, *names)), spelled)
        split = split_path(spelled)
        name = "\\".join(split.components)
        if split.root[1] == ":" and self._drives is not None:
            return SmbPlace(self._drives, f"{split.root[0]}$", name, spelled)
        if split.root.startswith("\\\\"):
            address, _, share = split.root.strip("\\").partition("\\")
            server = self._own.get(folded(address))
            if server is not None:
                return SmbPlace(server, share, name, spelled)
        raise PathNotReachable(f"no SMB share or login is configured that leads to {spelled}")

    def on_one_share(self, path: str, new_path: str) -> tuple[SmbPlace, SmbPlace]:
        """Return both places; raises HostFileError unless one share leads to both."""
        source, target = self.place_of(path), self.place_of(new_path)
        if (source.server, source.share.upper()) != (target.server, target.share.upper()):
            raise HostFileError(
                f"{path} cannot be renamed to {new_path}: they are reached by different shares"
            )
        return source, target

    def reaches(self, path: str) -> bool:
        """Tell whether a way leads to `path`; raises BadWindowsPath."""
        try:
            self.place_of(path)
        except PathNotReachable:
            return False
        return True

    def learn(self, root: str, url: StoreUrl, credentials: StoreCredentials) -> None:
        """Remember the login for an SMB store or pool whose URL brought it; the newest counts."""
        route = _route(root, url, credentials)
        with self._lock:
            self._routes[folded(route.root)] = route


def host_server(host: HostSettings, smb: SmbSettings) -> SmbServer:
    """Return a Hyper-V host as an SMB server; user and password default to WinRM's."""
    own = smb.user is not None
    user = smb.user if smb.user is not None else host.winrm.user
    domain, _, plain = user.rpartition("\\")
    password = resolve_secret(
        smb.password if own or smb.password is not None else host.winrm.password,
        purpose=f"host {host.name}: smb.password",
    )
    return SmbServer(
        address=smb.address or host.winrm.address,
        port=smb.port,
        user=plain,
        domain=domain,
        password=password,
        authentication=smb.authentication,
        encryption=smb.encryption,
        minimum_dialect=smb.minimum_dialect,
        timeout=smb.timeout,
        connections=smb.connections,
        sparse_files=smb.sparse_files,
    )


def _store_route(store: StoreSettings) -> SmbRoute | None:
    url = StoreUrl.parse(store.url)
    if url.unc is None or not store.user:
        return None
    password = resolve_secret(store.password, purpose=f"store {store.url}")
    credentials = StoreCredentials(store.user, password, store.domain or "")
    return _route(url.unc, url, credentials, store)


def _route(
    root: str, url: StoreUrl, credentials: StoreCredentials, store: StoreSettings | None = None
) -> SmbRoute:
    if url.unc is None:
        raise PathNotReachable(f"the store {url} is not an SMB share")
    address, _, port = url.server.partition(":")
    share, *folder = url.names
    server = SmbServer(
        address=address,
        port=int(port) if port.isdecimal() else DEFAULT_PORT,
        user=credentials.user,
        password=credentials.password,
        domain=credentials.domain,
        encryption=store.smb_encryption if store is not None else True,
        minimum_dialect=store.smb_minimum_dialect if store is not None else "3.0",
    )
    return SmbRoute(checked_path(root), server, share, tuple(folder))
