"""Resilient change tracking: what of a virtual disk has changed since a point in time.

A real host keeps a file beside the disk into which every write is noted.  Here a point in time
keeps a digest of each block of the disk's content through its chain, and changes are the blocks
that have another digest now: so what anybody wrote to the files is found, and what was written as
it was before is not.  Blocks of zeros have no digest, as if they had never been written.

Sources: Microsoft's page GetVirtualDiskChanges.  The form of an id and the size of a block are
guesses.  Points live as long as the emulation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply
from cloudstack_hyperv.emulator.host.arguments import integer, string
from cloudstack_hyperv.emulator.host.disks import HostDisks, failures
from cloudstack_hyperv.emulator.host.outcome import invalid_parameter
from cloudstack_hyperv.vhd import Disk

BLOCK = 64 * 1024
_VERB = "read the changes of the virtual hard disk"
_ZEROS = bytes(BLOCK)


@dataclass(frozen=True, slots=True)
class DiskPoint:
    """The content of one disk at one time."""

    track_id: str
    path: str
    digests: dict[int, bytes] = field(repr=False)
    """Of blocks that are not zero, by number."""


class ChangeTracking:
    """Points in time of the virtual disks of one host."""

    def __init__(self, disks: HostDisks) -> None:
        self._disks = disks
        self._points: dict[str, DiskPoint] = {}

    def take(self, path: str, guid: str) -> DiskPoint:
        """Read a disk, in a thread; raises JobFailed.  `keep` what it returns."""
        with self._disks.opened(path, _VERB) as disk, failures(_VERB, path):
            found = _digests(disk, 0, disk.virtual_size)
        return DiskPoint(f"rctX:{guid.lower().replace('-', ':')}:00000000", path, found)

    def keep(self, point: DiskPoint) -> None:
        """Let changes be asked for since a point."""
        self._points[point.track_id] = point

    def drop(self, track_id: str) -> None:
        """Forget a point."""
        self._points.pop(track_id, None)

    def changes(self, call: MethodCall) -> MethodReply:
        """Carry out Msvm_ImageManagementService.GetVirtualDiskChanges."""
        path, point = string(call, "Path"), self._points.get(string(call, "LimitId"))
        if call.arguments.get("TargetSnapshotId"):
            raise invalid_parameter("TargetSnapshotId is for VHD sets")
        offset, length = integer(call, "ByteOffset"), integer(call, "ByteLength")
        names = {place.windows.lower() for place in self._disks.chain(path, _VERB)}
        if point is None or point.path.lower() not in names:
            raise invalid_parameter("LimitId is no tracking id of this disk")
        with self._disks.opened(path, _VERB) as disk, failures(_VERB, path):
            if length <= 0 or offset + length > disk.virtual_size:
                raise invalid_parameter("the region does not lie on the disk")
            now = _digests(disk, offset, length)
        blocks = range(offset // BLOCK, -(-(offset + length) // BLOCK))
        changed = [n for n in blocks if now.get(n) != point.digests.get(n)]
        ranges = [_cut(*each, offset, offset + length) for each in _joined(changed)]
        return MethodReply(
            ReturnCode.COMPLETED,
            {
                "ProcessedByteLength": length,
                "ChangedByteOffsets": [start for start, _ in ranges] or None,
                "ChangedByteLengths": [end - start for start, end in ranges] or None,
            },
        )


def _digests(disk: Disk, offset: int, length: int) -> dict[int, bytes]:
    """Return the digests of the blocks that a region touches."""
    first, end = offset // BLOCK, -(-(offset + length) // BLOCK)
    found: dict[int, bytes] = {}
    for stored in disk.allocated_ranges():
        low = max(first, stored.offset // BLOCK)
        high = min(end, -(-(stored.offset + stored.length) // BLOCK))
        for number in range(low, high):
            start = number * BLOCK
            data = disk.read(start, min(BLOCK, disk.virtual_size - start))
            if data != _ZEROS[: len(data)]:
                found[number] = hashlib.sha256(data).digest()
    return found


def _joined(blocks: list[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, last + 1) of runs of neighbours."""
    start = end = -1
    for number in blocks:
        if number != end:
            if start >= 0:
                yield start, end
            start = number
        end = number + 1
    if start >= 0:
        yield start, end


def _cut(first: int, after: int, low: int, high: int) -> tuple[int, int]:
    return max(first * BLOCK, low), min(after * BLOCK, high)
