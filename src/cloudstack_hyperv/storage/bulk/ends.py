"""The two places that a bulk copy runs between, as the agent names them to its worker."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from cloudstack_hyperv.config import Secret
from cloudstack_hyperv.storage.smb.routes import SmbPlace
from cloudstack_hyperv.storage.smb.server import SmbServer


@dataclass(frozen=True, slots=True)
class FolderEnd:
    """An open file of the gateway; the worker inherits the descriptor."""

    path: str
    """For texts."""
    descriptor: int


@dataclass(frozen=True, slots=True)
class SmbEnd:
    """A file on an SMB server; the worker opens it (or creates it, as a target)."""

    place: SmbPlace


BulkEnd = FolderEnd | SmbEnd


@runtime_checkable
class BulkFiles(Protocol):
    """`HostFiles` that a worker can reach itself."""

    async def source_end(self, path: str) -> BulkEnd:
        """Open a file to be read; the receiver closes a descriptor."""
        ...

    async def target_end(self, temporary_path: str, size: int) -> BulkEnd:
        """Return where a new file of `size` bytes will be; raises HostFileExists, NoSpaceLeft."""
        ...


def end_to_json(end: BulkEnd) -> dict[str, Any]:
    """Return an end for the worker's standard input; the only place where a password leaves."""
    if isinstance(end, FolderEnd):
        return {"folder": asdict(end)}
    place = end.place
    server = {name: getattr(place.server, name) for name in SmbServer.__slots__}
    server["password"] = place.server.password.reveal()
    return {"smb": {"server": server, "share": place.share, "name": place.name, "path": place.path}}


def end_from_json(text: dict[str, Any]) -> BulkEnd:
    """Read what `end_to_json` wrote."""
    if "folder" in text:
        return FolderEnd(**text["folder"])
    parts = dict(text["smb"])
    server = dict(parts.pop("server"))
    server["password"] = Secret(server["password"])
    return SmbEnd(SmbPlace(server=SmbServer(**server), **parts))
