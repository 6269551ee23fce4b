"""Random access to the bytes of a virtual disk file, wherever it lies.

Everything in this package works on `RandomAccessFile`: a local file, a file in memory, or a file
on an SMB share that another layer wraps. Offsets and lengths are bytes. A read returns fewer bytes
than asked only at the end of the file. `flush` returns when earlier writes are stable, which the
ordering rules of the VHDX log rely on ([MS-VHDX] 2.3).
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

Buffer = bytes | bytearray | memoryview

_CHUNK = 1 << 16
_MAX_TRANSFER = 1 << 30
_HOLE = 1 << 16


class RandomAccessFile(Protocol):
    """What this package asks of a file."""

    def pread(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; shorter only where the file ends."""
        ...

    def pwrite(self, offset: int, data: Buffer) -> None:
        """Write all of `data` at `offset`, growing the file with zeros where it is shorter."""
        ...

    def size(self) -> int:
        """The length of the file in bytes."""
        ...

    def truncate(self, size: int) -> None:
        """Set the length of the file; what is added reads as zeros."""
        ...

    def flush(self) -> None:
        """Return when everything written so far is stable on its medium."""
        ...

    def close(self) -> None:
        """Give the file up."""
        ...


class OsFile:
    """A file of the operating system. Usable as a context manager.

    Without `durable`, `flush` does not wait for the medium: for files that need not outlive a
    power failure, such as those of an emulated host.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, writable: bool = False, durable: bool = True
    ) -> None:
        """Open an existing file; raises `OSError` as `os.open` does."""
        self._durable = durable
        self.path = Path(path)
        self.writable = writable
        self._fd = os.open(self.path, os.O_RDWR if writable else os.O_RDONLY)

    @classmethod
    def create(cls, path: str | os.PathLike[str], *, durable: bool = True) -> Self:
        """Make a new, empty, writable file; an existing one raises `FileExistsError`."""
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))
        return cls(path, writable=True, durable=durable)

    def pread(self, offset: int, length: int) -> bytes:
        """See `RandomAccessFile`. Large holes of sparse files are not fetched from the system."""
        if length >= _HOLE and self._is_hole(offset, length):
            return bytes(max(0, min(length, self.size() - offset)))
        data = os.pread(self._fd, min(length, _MAX_TRANSFER), offset)
        if len(data) == length or not data:
            return data
        parts = [data]
        have = len(data)
        while have < length:
            data = os.pread(self._fd, min(length - have, _MAX_TRANSFER), offset + have)
            if not data:
                break
            parts.append(data)
            have += len(data)
        return b"".join(parts)

    def _is_hole(self, offset: int, length: int) -> bool:
        try:
            return os.lseek(self._fd, offset, os.SEEK_DATA) >= offset + length
        except OSError as error:
            # ENXIO: no data from here to the end. Anything else: the system cannot tell.
            return error.errno == errno.ENXIO

    def pwrite(self, offset: int, data: Buffer) -> None:
        """See `RandomAccessFile`."""
        view = memoryview(data).cast("B")
        while view:
            done = os.pwrite(self._fd, view[:_MAX_TRANSFER], offset)
            offset += done
            view = view[done:]

    def size(self) -> int:
        """See `RandomAccessFile`."""
        return os.fstat(self._fd).st_size

    def truncate(self, size: int) -> None:
        """See `RandomAccessFile`."""
        os.ftruncate(self._fd, size)

    def flush(self) -> None:
        """See `RandomAccessFile`."""
        if self._durable:
            os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class MemoryFile:
    """A sparse file in memory: only the 64 KiB chunks that were written take space."""

    def __init__(self, content: Buffer = b"") -> None:
        self._chunks: dict[int, bytearray] = {}
        self._size = 0
        if content:
            self.pwrite(0, content)

    def _pieces(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """(chunk number, start within it, bytes) for each chunk that a range touches."""
        end = offset + length
        while offset < end:
            number, within = divmod(offset, _CHUNK)
            count = min(_CHUNK - within, end - offset)
            yield number, within, count
            offset += count

    def pread(self, offset: int, length: int) -> bytes:
        """See `RandomAccessFile`."""
        length = max(0, min(length, self._size - offset))
        parts: list[bytes] = []
        for number, within, count in self._pieces(offset, length):
            chunk = self._chunks.get(number)
            parts.append(bytes(count) if chunk is None else bytes(chunk[within : within + count]))
        return b"".join(parts)

    def pwrite(self, offset: int, data: Buffer) -> None:
        """See `RandomAccessFile`."""
        view = memoryview(data).cast("B")
        done = 0
        for number, within, count in self._pieces(offset, len(view)):
            chunk = self._chunks.get(number)
            if chunk is None:
                chunk = self._chunks[number] = bytearray(_CHUNK)
            chunk[within : within + count] = view[done : done + count]
            done += count
        self._size = max(self._size, offset + len(view))

    def size(self) -> int:
        """See `RandomAccessFile`."""
        return self._size

    def truncate(self, size: int) -> None:
        """See `RandomAccessFile`."""
        if size < self._size:
            last, within = divmod(size, _CHUNK)
            for number in [number for number in self._chunks if number > last]:
                del self._chunks[number]
            if last in self._chunks:
                self._chunks[last][within:] = bytes(_CHUNK - within)
        self._size = size

    def flush(self) -> None:
        """Nothing to do: memory is as stable as it gets."""

    def close(self) -> None:
        """Nothing to do: the content stays, so that the file can be opened again."""

    def content(self) -> bytes:
        """The whole file as one byte string."""
        return self.pread(0, self._size)


def read_exactly(file: RandomAccessFile, offset: int, length: int) -> bytes:
    """`length` bytes from `offset`, where the file must have them: raises `EOFError` if not."""
    data = file.pread(offset, length)
    if len(data) != length:
        raise EOFError(f"{length} bytes expected at {offset}, the file has {len(data)}")
    return data
