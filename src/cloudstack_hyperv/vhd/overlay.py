"""A view of a file with changes on top that never reach it.

A VHDX whose log holds entries must not be read without replaying them, and a file opened for
reading must not be changed: the entries are then replayed "in memory" ([MS-VHDX] 2.3.3, note 5).
The log speaks of 4 KiB pages with new content and of ranges of zeros that may be large, so pages
are kept as bytes and zeros as intervals.
"""

from bisect import bisect_left, bisect_right, insort

from cloudstack_hyperv.vhd.errors import ReadOnlyDiskError
from cloudstack_hyperv.vhd.files import Buffer, RandomAccessFile

PAGE = 4096


class OverlayFile:
    """`base` as it would be after `write_page`, `zero` and `extend`; itself read-only."""

    def __init__(self, base: RandomAccessFile) -> None:
        self._base = base
        self._size = base.size()
        self._pages: dict[int, bytes] = {}
        self._page_offsets: list[int] = []
        self._zeros: list[tuple[int, int]] = []

    def write_page(self, offset: int, data: bytes) -> None:
        """Give the page at `offset` (a multiple of 4 KiB) new content."""
        if offset not in self._pages:
            insort(self._page_offsets, offset)
        self._pages[offset] = data
        self.extend(offset + PAGE)

    def zero(self, offset: int, length: int) -> None:
        """Let a range of whole pages read as zeros."""
        start, end = offset, offset + length
        first, last = self._page_range(start, end)
        for page in self._page_offsets[first:last]:
            del self._pages[page]
        del self._page_offsets[first:last]
        merged = []
        for low, high in self._zeros:
            if high < start or low > end:
                merged.append((low, high))
            else:
                start, end = min(start, low), max(end, high)
        insort(merged, (start, end))
        self._zeros = merged
        self.extend(offset + length)

    def extend(self, size: int) -> None:
        """Let the file be at least `size` bytes long."""
        self._size = max(self._size, size)

    def zero_bytes(self) -> int:
        """How many bytes the zero ranges cover."""
        return sum(high - low for low, high in self._zeros)

    def apply(self) -> None:
        """Write the changes into the base file. The caller flushes."""
        size = self._base.size()
        if self._size > size:
            self._base.truncate(self._size)
        step = 1 << 20
        for low, high in self._zeros:
            # What lies behind the old end was just added and is zero already.
            for offset in range(low, min(high, size), step):
                self._base.pwrite(offset, bytes(min(step, min(high, size) - offset)))
        for offset in self._page_offsets:
            self._base.pwrite(offset, self._pages[offset])

    def _page_range(self, start: int, end: int) -> tuple[int, int]:
        return (
            bisect_left(self._page_offsets, start - PAGE + 1),
            bisect_left(self._page_offsets, end),
        )

    def pread(self, offset: int, length: int) -> bytes:
        """See `RandomAccessFile`."""
        length = max(0, min(length, self._size - offset))
        if not length:
            return b""
        end = offset + length
        first, last = self._page_range(offset, end)
        zero = bisect_right(self._zeros, (offset, offset))
        if zero and self._zeros[zero - 1][1] > offset:
            zero -= 1
        touched = first < last or (zero < len(self._zeros) and self._zeros[zero][0] < end)
        data = self._base.pread(offset, length)
        if not touched and len(data) == length:
            return data
        result = bytearray(data)
        result += bytes(length - len(data))
        for low, high in self._zeros[zero:]:
            if low >= end:
                break
            low, high = max(low, offset), min(high, end)
            result[low - offset : high - offset] = bytes(high - low)
        for page in self._page_offsets[first:last]:
            low, high = max(page, offset), min(page + PAGE, end)
            result[low - offset : high - offset] = self._pages[page][low - page : high - page]
        return bytes(result)

    def pwrite(self, offset: int, data: Buffer) -> None:
        """Refused: the view is for reading."""
        raise ReadOnlyDiskError(f"a write of {len(data)} bytes at {offset} of a read-only view")

    def size(self) -> int:
        """See `RandomAccessFile`."""
        return self._size

    def truncate(self, size: int) -> None:
        """Refused: the view is for reading."""
        raise ReadOnlyDiskError(f"a new size of {size} bytes for a read-only view")

    def flush(self) -> None:
        """Nothing to do: nothing was written."""

    def close(self) -> None:
        """Close the base file."""
        self._base.close()
