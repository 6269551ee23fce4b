"""Work on virtual disk files, as it runs in a thread: create, convert, merge, resize and so on.

All paths are Windows paths; whatever goes wrong is a `JobFailed` with the HRESULT that Windows
would give.  A file that could not be finished is removed again.
"""

from __future__ import annotations

import ntpath
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloudstack_hyperv import vhd
from cloudstack_hyperv.emulator.host.disks import HostDisks, failures
from cloudstack_hyperv.emulator.host.jobs import Progress
from cloudstack_hyperv.emulator.host.outcome import Hresult, file_failure


@dataclass(frozen=True, slots=True)
class DiskWish:
    """A disk as a client describes it; 0 and "" mean "as usual".  Sizes are bytes."""

    path: str
    disk_type: vhd.DiskType
    disk_format: vhd.DiskFormat
    size: int = 0
    parent: str = ""
    block_size: int = 0
    logical_sector_size: int = 0
    physical_sector_size: int = 0
    disk_id: str = ""


class DiskWork:
    """Operations on disk files of one host."""

    def __init__(self, disks: HostDisks) -> None:
        self._disks = disks

    def create(self, wish: DiskWish, progress: Progress) -> None:
        """Make an empty disk, or a child of another one."""
        verb = "create the virtual hard disk"
        place = self._disks.new(wish.path, verb)
        with removed_on_failure(place.local), failures(verb, wish.path):
            if wish.disk_type is vhd.DiskType.DIFFERENCING:
                self.create_child(
                    wish.path, wish.parent, size=wish.size, block_size=wish.block_size
                )
            else:
                with self._disks.new_file(place) as file:
                    self._make(file, wish, wish.size)
                    file.flush()
        progress.report(1, 1)

    def _make(self, file: vhd.RandomAccessFile, wish: DiskWish, size: int) -> None:
        make = vhd.create_fixed if wish.disk_type is vhd.DiskType.FIXED else vhd.create_dynamic
        make(
            file,
            size,
            disk_format=wish.disk_format,
            block_size=wish.block_size or None,
            logical_sector_size=wish.logical_sector_size or 512,
            physical_sector_size=wish.physical_sector_size
            or (4096 if wish.disk_format is vhd.DiskFormat.VHDX else 512),
            disk_id=uuid.UUID(wish.disk_id) if wish.disk_id else None,
        )

    def create_child(self, path: str, parent: str, *, size: int = 0, block_size: int = 0) -> None:
        """Make a differencing disk; raises JobFailed."""
        verb = "create the differencing virtual hard disk"
        place = self._disks.new(path, verb)
        below = self._disks.existing(parent, verb)
        with (
            removed_on_failure(place.local),
            failures(verb, path),
            self._disks.file(below) as parent_file,
            self._disks.new_file(place) as file,
        ):
            vhd.create_differencing(
                file,
                parent_file,
                disk_format=vhd.format_of_name(parent),
                block_size=block_size or None,
                virtual_size=size or None,
                **locators(path, parent),
            )
            file.flush()

    def convert(self, source: str, wish: DiskWish, progress: Progress) -> None:
        """Copy a disk and what is below it into a new file."""
        verb = "convert the virtual hard disk"
        place = self._disks.new(wish.path, verb)
        with (
            self._disks.opened(source, verb) as disk,
            removed_on_failure(place.local),
            failures(verb, wish.path),
            self._disks.new_file(place) as file,
        ):
            if wish.disk_type is vhd.DiskType.DIFFERENCING:
                raise file_failure(verb, wish.path, "Not to this type.", Hresult.NOT_SUPPORTED)
            self._make(file, wish, disk.virtual_size)
            with vhd.open_disk(file, writable=True, disk_format=wish.disk_format) as copy:
                vhd.copy_content(disk, copy, progress.report)
                copy.flush()

    def resize(self, path: str, size: int, progress: Progress) -> None:
        """Change the size of a disk that nobody stands on."""
        verb = "resize the virtual hard disk"
        place = self._disks.existing(path, verb)
        info = self._disks.info(path, verb)
        if size % info.logical_sector_size:
            raise file_failure(verb, path, "Not a whole sector.", Hresult.INVALID_PARAMETER)
        # A VHDX that is a child may grow (OpenStack does so with its copy-on-write roots), a VHD
        # may not, and nothing that somebody stands on may.
        is_old_child = info.type is vhd.DiskType.DIFFERENCING and info.format is vhd.DiskFormat.VHD
        if is_old_child or has_checkpoint_child(place.local):
            reason = "The disk is part of a differencing chain."
            raise file_failure(verb, path, reason, Hresult.NOT_SUPPORTED)
        with self._disks.opened(path, verb, writable=True) as disk:
            vhd.resize(disk, size)
        progress.report(1, 1)

    def compact(self, path: str, progress: Progress) -> None:
        """Make a disk's file smaller."""
        verb = "compact the virtual hard disk"
        with self._disks.opened(path, verb, writable=True, alone=True) as disk:
            vhd.compact(disk, progress=progress.report)

    def merge(self, child: str, ancestor: str, progress: Progress) -> None:
        """Move a disk's content into one of its ancestors; the disks in between are removed."""
        verb = "merge the virtual hard disk"
        target = self._disks.existing(ancestor, verb).local
        chain = self._disks.chain(child, verb)
        depth = next((i for i, place in enumerate(chain) if place.local == target), 0)
        if depth == 0:
            raise file_failure(
                verb, child, "The destination is no parent of it.", Hresult.PARENT_MISMATCH
            )
        with failures(verb, child), ExitStack() as stack:
            files = [
                stack.enter_context(self._disks.file(place, writable=index == depth))
                for index, place in enumerate(chain[: depth + 1])
            ]
            vhd.merge(files, disk_format=vhd.format_of_name(child), progress=progress.report)
        for place in chain[:depth]:
            place.local.unlink(missing_ok=True)

    def set_parent(self, child: str, parent: str, *, ignore_mismatch: bool) -> None:
        """Tell a differencing disk where its parent is."""
        verb = "reconnect the parent of virtual hard disk"
        upper, lower = self._disks.existing(child, verb), self._disks.existing(parent, verb)
        with (
            failures(verb, child),
            self._disks.file(upper, writable=True) as child_file,
            self._disks.file(lower) as parent_file,
        ):
            vhd.set_parent(
                child_file,
                parent_file,
                ignore_mismatch=ignore_mismatch,
                disk_format=vhd.format_of_name(child),
                **locators(child, parent),
            )

    def validate(self, path: str, progress: Progress) -> None:
        """Read a disk and its parents."""
        verb = "validate the virtual hard disk"
        with self._disks.opened(path, verb) as disk, failures(verb, path):
            for _ in disk.allocated_ranges():
                progress.report(0, 1)
        progress.report(1, 1)


def locators(child: str, parent: str) -> dict[str, str]:
    """Return the paths by which a child finds its parent."""
    found = {"absolute_win32_path": parent if parent.startswith("\\\\") else f"\\\\?\\{parent}"}
    if ntpath.splitdrive(child)[0].lower() == ntpath.splitdrive(parent)[0].lower():
        relative = ntpath.relpath(parent, ntpath.dirname(child))
        found["relative_path"] = relative if relative.startswith("..") else f".\\{relative}"
    return found


def has_checkpoint_child(path: Path) -> bool:
    """Whether a checkpoint's disk in the same folder stands on this file."""
    stem = path.stem.casefold() + "_"
    return any(
        entry.suffix.casefold() in (".avhdx", ".avhd") and entry.stem.casefold().startswith(stem)
        for entry in path.parent.iterdir()
    )


@contextmanager
def removed_on_failure(path: Path) -> Iterator[None]:
    """Remove a half-made file when the block fails."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise
