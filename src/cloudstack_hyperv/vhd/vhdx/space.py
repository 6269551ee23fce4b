"""Which megabytes of a VHDX are taken: overlap check and allocation ([MS-VHDX] 2.1).

All structures of a VHDX are aligned to 1 MiB and must not overlap, so one byte a MiB of file is a
complete map. Space that is given up may be used again only after the change that gave it up is
stable, because the replay of an older log entry may still write to it: `release` therefore keeps
it back until `settle`.
"""

from cloudstack_hyperv.vhd.errors import CorruptDiskError
from cloudstack_hyperv.vhd.info import MIB

# A disk of 64 TiB with its tables and room to spare.
MAX_FILE_SIZE = 66 << 40


class SpaceMap:
    """The taken megabytes of one file."""

    def __init__(self, file_size: int) -> None:
        if file_size > MAX_FILE_SIZE:
            raise CorruptDiskError(f"a file of {file_size} bytes is no VHDX")
        self._taken = bytearray(-(-file_size // MIB))
        self._released: list[tuple[int, int]] = []

    def claim(self, offset: int, length: int) -> None:
        """Take a range that the file says it uses; an overlap raises `CorruptDiskError`."""
        first, last = offset // MIB, -(-(offset + length) // MIB)
        if last > len(self._taken):
            self._taken += bytes(last - len(self._taken))
        if length == MIB:
            if self._taken[first]:
                raise CorruptDiskError(f"two structures overlap at {offset}")
            self._taken[first] = 1
            return
        if self._taken.find(1, first, last) >= 0:
            raise CorruptDiskError(f"two structures overlap at {offset}")
        self._taken[first:last] = b"\1" * (last - first)

    def allocate(self, length: int) -> int:
        """The offset of free space, the lowest there is, now taken. May lie behind the end."""
        count = -(-length // MIB)
        first = self._taken.find(bytes(count))
        if first < 0:
            # Continue the free tail, if there is one.
            first = self._taken.rfind(1) + 1
            self._taken += bytes(first + count - len(self._taken))
        self._taken[first : first + count] = b"\1" * count
        return first * MIB

    def find_below(self, offset: int, length: int) -> int | None:
        """The offset of free space that ends at or below `offset`, now taken; None if none."""
        count = -(-length // MIB)
        first = self._taken.find(bytes(count), 0, offset // MIB)
        if first < 0:
            return None
        self._taken[first : first + count] = b"\1" * count
        return first * MIB

    def release(self, offset: int, length: int) -> None:
        """Give up a range; it stays taken until `settle`."""
        self._released.append((offset // MIB, -(-(offset + length) // MIB)))

    def settle(self) -> None:
        """What was released is free now: the metadata that no longer names it is stable."""
        for first, last in self._released:
            self._taken[first:last] = bytes(last - first)
        self._released.clear()

    def end(self) -> int:
        """The offset behind the last taken megabyte."""
        return (self._taken.rfind(1) + 1) * MIB
