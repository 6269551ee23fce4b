"""Files of a Hyper-V host behind one interface, whatever way leads to them.

Today: a folder of the gateway that is a folder of the host (the emulated host's, or a mounted
share).  SMB to the host's admin share is another implementation of the same protocol.
Paths are Windows paths (`C:\\VMs\\a.vhdx`, `\\\\server\\share\\a.vhdx`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from cloudstack_hyperv.vhd import DiskInfo


class HostFileError(Exception):
    """A file operation on the host failed; the text names path and reason."""


class HostFileNotFound(HostFileError):
    """No such file or folder."""


class HostFileExists(HostFileError):
    """The target of a create or rename exists: nothing was overwritten."""


class NoSpaceLeft(HostFileError):
    """The volume is full."""


class PathNotReachable(HostFileError):
    """No configured way leads to this path."""


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What is known of one file or folder."""

    path: str
    size: int
    """Bytes."""
    is_folder: bool
    modified: float
    """Seconds since 1970, UTC."""


@dataclass(frozen=True, slots=True)
class VolumeSpace:
    """Capacity of the volume that holds a folder, in bytes."""

    capacity: int
    available: int


class HostFileWriter(Protocol):
    """A new file being written under a temporary name."""

    async def write(self, offset: int, data: bytes) -> None:
        """Write at an offset; what was never written reads as zeros."""
        ...

    async def commit(self, final_path: str) -> None:
        """Flush, then rename to `final_path`; raises HostFileExists, never overwrites."""
        ...

    async def abort(self) -> None:
        """Remove the temporary file; harmless after commit."""
        ...


class HostFiles(Protocol):
    """File operations on one host."""

    async def status(self, path: str) -> FileStatus | None:
        """Return what is there, None if nothing is."""
        ...

    async def list_folder(self, path: str) -> list[FileStatus]:
        """Return the entries of a folder; raises HostFileNotFound."""
        ...

    async def make_folder(self, path: str) -> None:
        """Create a folder and its parents; success if it is there."""
        ...

    async def read(self, path: str, offset: int, length: int) -> bytes:
        """Read up to `length` bytes."""
        ...

    def data_ranges(self, path: str) -> AsyncIterator[tuple[int, int]]:
        """Yield (offset, length) of ranges that may hold other bytes than zero."""
        ...

    async def create(self, temporary_path: str, size: int) -> HostFileWriter:
        """Start a new file of `size` bytes; raises HostFileExists, NoSpaceLeft."""
        ...

    async def rename(self, path: str, new_path: str) -> None:
        """Rename within a volume; raises HostFileExists, never overwrites."""
        ...

    async def delete(self, path: str) -> bool:
        """Delete a file; False if it was not there."""
        ...

    async def disk_info(self, path: str) -> DiskInfo:
        """Read a VHD's or VHDX's own metadata; raises vhd.VhdError for what is neither."""
        ...

    async def space(self, path: str) -> VolumeSpace | None:
        """Return the space of the volume below `path`, None if this way cannot tell."""
        ...
