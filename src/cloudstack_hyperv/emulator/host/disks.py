r"""Virtual disk files behind Windows paths: reading them, following parents, holding them open.

Everything VMMS and the image service do with a disk goes through here, so a missing file, a bad
file, a broken chain and a file in use fail with the same texts and HRESULTs wherever they are met.
"""

from __future__ import annotations

import errno
import ntpath
from collections.abc import Iterator
from contextlib import contextmanager

from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.host.files import HostFiles, Place
from cloudstack_hyperv.emulator.host.outcome import Hresult, JobFailed, file_failure
from cloudstack_hyperv.emulator.host.space import HostFile
from cloudstack_hyperv.vhd import (
    CorruptDiskError,
    Disk,
    DiskInfo,
    DiskParameterError,
    DiskShrinkError,
    NotADiskError,
    ParentLocator,
    ParentMismatchError,
    ParentNotFoundError,
    ParentResolver,
    RandomAccessFile,
    UnsupportedDiskError,
    VhdError,
    format_of_name,
    open_disk,
    read_info,
)

DISK_EXTENSIONS = frozenset({".vhd", ".vhdx", ".avhd", ".avhdx", ".vhds"})

_VHD_HRESULTS: dict[type[VhdError], int] = {
    NotADiskError: Hresult.UNKNOWN_FORMAT,
    CorruptDiskError: 0xC03A0017,
    UnsupportedDiskError: Hresult.NOT_SUPPORTED,
    DiskParameterError: Hresult.INVALID_PARAMETER,
    DiskShrinkError: Hresult.INVALID_PARAMETER,
    ParentNotFoundError: 0xC03A000D,
    ParentMismatchError: Hresult.PARENT_MISMATCH,
}
"""winerror.h: ERROR_VHD_SPARSE_HEADER_CORRUPT kin, ERROR_VHD_CHILD_PARENT_ID_MISMATCH."""

_ERRNO_HRESULTS = {
    errno.ENOENT: Hresult.FILE_NOT_FOUND,
    errno.ENOTDIR: Hresult.PATH_NOT_FOUND,
    errno.EISDIR: Hresult.ACCESS_DENIED,
    errno.EACCES: Hresult.ACCESS_DENIED,
    errno.EPERM: Hresult.ACCESS_DENIED,
    errno.EROFS: Hresult.ACCESS_DENIED,
    errno.EEXIST: Hresult.FILE_EXISTS,
    errno.ENOSPC: Hresult.DISK_FULL,
    errno.EDQUOT: Hresult.DISK_FULL,
}

_REASONS = {
    Hresult.FILE_NOT_FOUND: "The system cannot find the file specified.",
    Hresult.PATH_NOT_FOUND: "The system cannot find the path specified.",
    Hresult.ACCESS_DENIED: "General access denied error. Access is denied.",
    Hresult.FILE_EXISTS: "The file exists.",
    Hresult.DISK_FULL: "There is not enough space on the disk.",
    Hresult.UNKNOWN_FORMAT: "The file or directory is corrupted and unreadable.",
}


def os_failure(verb: str, windows: str, problem: OSError) -> JobFailed:
    """Return the failure for an error of the operating system."""
    hresult = _ERRNO_HRESULTS.get(problem.errno or 0, 0x80070000 | (problem.errno or 0x1F))
    return file_failure(verb, windows, _REASONS.get(hresult, problem.strerror or ""), hresult)


def vhd_failure(verb: str, windows: str, problem: VhdError) -> JobFailed:
    """Return the failure for a file that is not a usable virtual disk."""
    hresult = next(
        (code for kind, code in _VHD_HRESULTS.items() if isinstance(problem, kind)), 0x80004005
    )
    return file_failure(verb, windows, f"{problem}.", hresult)


class HostDisks:
    """Virtual disks of one host as VMMS reaches them."""

    def __init__(self, files: HostFiles, account: str) -> None:
        self._files = files
        self._account = account

    def place(self, windows: str, verb: str = "open attachment") -> Place:
        """Return where a path lies; raises JobFailed where VMMS may not or cannot go."""
        return self._files.for_vmms(windows, self._account, verb)

    def existing(self, windows: str, verb: str = "open attachment") -> Place:
        """Return the place of a file that must exist; raises JobFailed."""
        place = self.place(windows, verb)
        if not place.local.is_file():
            folder_exists = place.local.parent.is_dir()
            hresult = Hresult.FILE_NOT_FOUND if folder_exists else Hresult.PATH_NOT_FOUND
            raise file_failure(verb, windows, _REASONS[hresult], hresult)
        return place

    def new(self, windows: str, verb: str = "create the virtual hard disk") -> Place:
        """Return the place of a file that must not exist, in a folder that must; JobFailed."""
        place = self.place(windows, verb)
        if place.local.exists():
            raise file_failure(verb, windows, _REASONS[Hresult.FILE_EXISTS], Hresult.FILE_EXISTS)
        if not place.local.parent.is_dir():
            hresult = Hresult.PATH_NOT_FOUND
            raise file_failure(verb, windows, _REASONS[hresult], hresult)
        return place

    def info(self, windows: str, verb: str = "open attachment") -> DiskInfo:
        """Return a disk's own description; raises JobFailed."""
        place = self.existing(windows, verb)
        with failures(verb, windows), self.file(place) as file:
            return read_info(file, disk_format=format_of_name(windows))

    def file(self, place: Place, *, writable: bool = False) -> HostFile:
        """Open a file of the host; raises OSError."""
        return self._files.open(place, writable=writable)

    def new_file(self, place: Place) -> HostFile:
        """Make a file of the host, which must not exist; raises OSError."""
        return self._files.create(place)

    def parent_path(self, windows: str, info: DiskInfo) -> str:
        """Return the Windows path of a differencing disk's parent, "" where none is found."""
        if info.parent is None:
            return ""
        candidates = [_plain(path) for path in info.parent.candidate_paths(windows)]
        for candidate in candidates:
            try:
                if self.place(candidate).local.is_file():
                    return candidate
            except JobFailed:
                continue  # a path that cannot be followed: the next one may be right
        return ""

    def chain(self, windows: str, verb: str = "open attachment") -> list[Place]:
        """Return the disk and its parents, leaf first; raises JobFailed for a broken chain."""
        places: list[Place] = []
        current = windows
        while current:
            place = self.existing(current, verb)
            if place.local in [earlier.local for earlier in places]:
                raise file_failure(verb, windows, "The chain is a loop.", Hresult.PARENT_MISMATCH)
            places.append(place)
            info = self.info(current, verb)
            following = self.parent_path(current, info)
            if info.parent is not None and not following:
                reason = "The chain of virtual hard disks is broken: a parent is missing."
                raise file_failure(verb, windows, reason, 0xC03A000D)
            current = following
        return places

    @contextmanager
    def opened(
        self, windows: str, verb: str, *, writable: bool = False, alone: bool = False
    ) -> Iterator[Disk]:
        """Open a disk with its parents; whatever is wrong with a file becomes JobFailed."""
        place = self.existing(windows, verb)
        with failures(verb, windows), self.file(place, writable=writable) as file:
            resolver = None if alone else self._resolver(file, windows)
            with open_disk(
                file,
                writable=writable,
                parent_resolver=resolver,
                disk_format=format_of_name(windows),
            ) as disk:
                yield disk

    def _resolver(self, first: RandomAccessFile, windows: str) -> ParentResolver:
        names: dict[int, str] = {id(first): windows}

        def resolve(locator: ParentLocator, child: RandomAccessFile) -> RandomAccessFile:
            for candidate in locator.candidate_paths(names[id(child)]):
                path = _plain(candidate)
                place = self.place(path)
                if place.local.is_file():
                    file = self.file(place)
                    names[id(file)] = path
                    return file
            raise ParentNotFoundError(f"no parent of {names[id(child)]} is there")

        return resolve

    def hold_chain(self, windows: str, holder: str) -> None:
        """Open a disk for writing and its parents for reading; raises JobFailed."""
        for index, place in enumerate(self.chain(windows)):
            self._files.hold(place, holder, exclusive=index == 0)

    def hold_image(self, windows: str, holder: str) -> None:
        """Open an ISO or floppy image for reading; raises JobFailed."""
        self._files.hold(self.existing(windows), holder, exclusive=False)

    def release(self, holder: str) -> None:
        """Close everything a holder has open."""
        self._files.release(holder)

    def check_medium(self, windows: str, *, hard_disk: bool) -> None:
        """Refuse a file that cannot be put into a drive; raises JobFailed."""
        extension = ntpath.splitext(windows)[1].lower()
        if hard_disk:
            if extension not in DISK_EXTENSIONS:
                raise file_failure(
                    "open attachment", windows, "Not a virtual hard disk.", Hresult.UNKNOWN_FORMAT
                )
            self.chain(windows)
        else:
            self.existing(windows)


@contextmanager
def failures(verb: str, windows: str) -> Iterator[None]:
    """Turn errors of files and disks into JobFailed."""
    try:
        yield
    except VhdError as problem:
        raise vhd_failure(verb, windows, problem) from problem
    except OSError as problem:
        raise os_failure(verb, windows, problem) from problem


def disk_error(text: str, hresult: int) -> JobFailed:
    """Return a failure of the image service that is not about one file's access."""
    return JobFailed(ReturnCode.FAILED, f"{text} (0x{hresult:08X}).", hresult)


def _plain(path: str) -> str:
    return path[4:] if path.startswith("\\\\?\\") and path[5:6] == ":" else path
