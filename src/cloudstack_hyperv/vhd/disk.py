"""A virtual disk as its guest sees it: bytes at offsets, and where they come from.

`extents` is the centre: it cuts a range of the virtual disk into pieces that lie in this file,
read as zeros, or are left to the parent. Reading, copying, merging and sparse iteration all follow
from it, whatever the format.
"""

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from cloudstack_hyperv.vhd.errors import (
    CorruptDiskError,
    DiskRangeError,
    ParentNotFoundError,
    VhdError,
)
from cloudstack_hyperv.vhd.files import Buffer, RandomAccessFile
from cloudstack_hyperv.vhd.info import DiskInfo

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all); an exception from it ends the operation."""


class ExtentKind(enum.Enum):
    """Where a piece of a virtual disk comes from."""

    DATA = "data"
    ZERO = "zero"
    PARENT = "parent"


@dataclass(frozen=True, slots=True)
class Extent:
    """A piece of the virtual disk; `file_offset` says where in the file DATA lies."""

    offset: int
    length: int
    kind: ExtentKind
    file_offset: int = 0


def joined(extents: Iterator[Extent]) -> Iterator[Extent]:
    """The same pieces, with neighbours joined that lie together and are of one kind."""
    pending: Extent | None = None
    for extent in extents:
        if pending is None:
            pending = extent
        elif pending.kind is extent.kind and (
            extent.kind is not ExtentKind.DATA
            or pending.file_offset + pending.length == extent.file_offset
        ):
            length = pending.length + extent.length
            pending = Extent(pending.offset, length, pending.kind, pending.file_offset)
        else:
            yield pending
            pending = extent
    if pending is not None:
        yield pending


@dataclass(frozen=True, slots=True)
class DiskRange:
    """A range of the virtual disk, in bytes."""

    offset: int
    length: int


class Disk(ABC):
    """An open virtual disk. Usable as a context manager; `close` leaves the file consistent.

    `parent` is the next disk of the chain, or None for a disk without one or a differencing disk
    that was opened alone; what such a disk leaves to its parent then cannot be read.
    """

    def __init__(self, file: RandomAccessFile, *, writable: bool) -> None:
        self.file = file
        self.writable = writable
        self.parent: Disk | None = None
        self.owns_file = False
        self._closed = False

    @property
    @abstractmethod
    def info(self) -> DiskInfo:
        """The disk's description as it is now."""

    @property
    def virtual_size(self) -> int:
        """The size that the guest sees, in bytes."""
        return self.info.virtual_size

    @abstractmethod
    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """The pieces that a range of the disk consists of, in order and without gaps."""

    @abstractmethod
    def write(self, offset: int, data: Buffer) -> None:
        """Change bytes of the disk at any offset. Stable after `flush`."""

    @abstractmethod
    def write_zeroes(self, offset: int, length: int) -> None:
        """Make a range read as zeros, giving up space in the file where the format can."""

    @abstractmethod
    def _flush(self) -> None:
        """Make everything written so far stable."""

    @abstractmethod
    def _finish(self) -> None:
        """Leave the file as its next reader expects it."""

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes of the disk from `offset`."""
        self.check_range(offset, length)
        parts = []
        for extent in self.extents(offset, length):
            if extent.kind is ExtentKind.DATA:
                data = self.file.pread(extent.file_offset, extent.length)
                if len(data) != extent.length:
                    raise CorruptDiskError("the file ends within a block")
                parts.append(data)
            elif extent.kind is ExtentKind.ZERO:
                parts.append(bytes(extent.length))
            else:
                parts.append(self._read_parent(extent))
        return b"".join(parts)

    def _read_parent(self, extent: Extent) -> bytes:
        if self.parent is None:
            raise ParentNotFoundError("the differencing disk was opened without its parent")
        there = max(0, min(extent.length, self.parent.virtual_size - extent.offset))
        data = self.parent.read(extent.offset, there) if there else b""
        return data + bytes(extent.length - there)

    def widened(self, offset: int, view: memoryview, unit: int) -> tuple[int, memoryview]:
        """A write widened to whole units of bytes, with what its edges hold now."""
        start = offset // unit * unit
        end = min(-(-(offset + len(view)) // unit) * unit, self.virtual_size)
        if start == offset and end == offset + len(view):
            return offset, view
        head = self.read(start, offset - start)
        tail = self.read(offset + len(view), end - offset - len(view))
        return start, memoryview(b"".join((head, view, tail)))

    def allocated_ranges(self) -> Iterator[DiskRange]:
        """The ranges that are stored in this file or its ancestors; all else reads as zeros.

        Adjacent ranges are joined. Stored bytes may still be zeros.
        """
        start = end = 0
        for extent in self.stored_extents(0, self.virtual_size):
            if extent.offset != end or start == end:
                if start < end:
                    yield DiskRange(start, end - start)
                start = extent.offset
            end = extent.offset + extent.length
        if start < end:
            yield DiskRange(start, end - start)

    def stored_extents(self, offset: int, length: int) -> Iterator[Extent]:
        """The DATA extents of a range, those of ancestors included, in order."""
        for extent in self.extents(offset, length):
            if extent.kind is ExtentKind.DATA:
                yield extent
            elif extent.kind is ExtentKind.PARENT:
                if self.parent is None:
                    raise ParentNotFoundError("the differencing disk was opened without its parent")
                there = min(extent.length, self.parent.virtual_size - extent.offset)
                if there > 0:
                    yield from self.parent.stored_extents(extent.offset, there)

    def check_range(self, offset: int, length: int) -> None:
        """Raise `DiskRangeError` for what does not lie on the disk."""
        if offset < 0 or length < 0 or offset + length > self.virtual_size:
            raise DiskRangeError(
                f"{length} bytes at {offset} of a disk of {self.virtual_size} bytes"
            )
        if self._closed:
            raise VhdError("the disk is closed")

    def flush(self) -> None:
        """Return when everything written so far is stable."""
        if self.writable and not self._closed:
            self._flush()

    def close(self) -> None:
        """End the use of the disk and of its ancestors; a second call does nothing.

        The file stays open: it belongs to whoever opened it. Files of ancestors that a resolver
        opened are closed.
        """
        if self._closed:
            return
        try:
            if self.writable:
                self._finish()
        finally:
            self._closed = True
            if self.parent is not None:
                self.parent.close()
            if self.owns_file:
                self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
