"""The block allocation table: which entry belongs to which block ([MS-VHDX] 2.4, 2.5).

A chunk is the part of the virtual disk whose sectors one sector bitmap block (1 MiB, 2^23 bits)
describes; the chunk ratio is the number of payload blocks in it. In the table the entry of the
chunk's sector bitmap block follows those of its payload blocks, in every type of disk.
"""

import enum
from dataclasses import dataclass

from cloudstack_hyperv.vhd.info import MIB

ENTRY_SIZE = 8
SECTORS_PER_BITMAP = 1 << 23
BITMAP_BLOCK_SIZE = MIB

_STATE_BITS = 3
_OFFSET_SHIFT = 20
_RESERVED = ((1 << _OFFSET_SHIFT) - 1) & ~((1 << _STATE_BITS) - 1)


class PayloadState(enum.IntEnum):
    """State of a payload block ([MS-VHDX] 2.5.1.1)."""

    NOT_PRESENT = 0
    UNDEFINED = 1
    ZERO = 2
    UNMAPPED = 3
    FULLY_PRESENT = 6
    PARTIALLY_PRESENT = 7


class BitmapState(enum.IntEnum):
    """State of a sector bitmap block ([MS-VHDX] 2.5.1.2)."""

    NOT_PRESENT = 0
    PRESENT = 6


# States in which the entry's offset, if not zero, is a place in the file that is taken.
PLACED_STATES = frozenset(
    {
        PayloadState.UNDEFINED,
        PayloadState.UNMAPPED,
        PayloadState.FULLY_PRESENT,
        PayloadState.PARTIALLY_PRESENT,
    }
)


def pack_entry(state: int, offset: int = 0) -> int:
    """The entry with a state and a file offset in bytes (a multiple of 1 MiB)."""
    return state | offset // MIB << _OFFSET_SHIFT


def entry_state(entry: int) -> int:
    """The state bits of an entry."""
    return entry & ((1 << _STATE_BITS) - 1)


def entry_offset(entry: int) -> int:
    """The file offset of an entry in bytes."""
    return (entry >> _OFFSET_SHIFT) * MIB


def entry_reserved(entry: int) -> int:
    """The bits that must be zero."""
    return entry & _RESERVED


@dataclass(frozen=True, slots=True)
class BatGeometry:
    """How a disk of given sizes is laid out in the table."""

    virtual_size: int
    block_size: int
    logical_sector_size: int

    @property
    def chunk_ratio(self) -> int:
        """Payload blocks per sector bitmap block."""
        return SECTORS_PER_BITMAP * self.logical_sector_size // self.block_size

    @property
    def payload_blocks(self) -> int:
        """Blocks of the virtual disk, the last of which may be cut."""
        return -(-self.virtual_size // self.block_size)

    @property
    def chunks(self) -> int:
        """Sector bitmap blocks that a differencing disk of this size can have."""
        return -(-self.payload_blocks // self.chunk_ratio)

    def entries(self, *, has_parent: bool) -> int:
        """Entries that the table must at least have."""
        if has_parent:
            return self.chunks * (self.chunk_ratio + 1)
        return self.payload_blocks + (self.payload_blocks - 1) // self.chunk_ratio

    def payload_entry(self, block: int) -> int:
        """The index of a payload block's entry."""
        return block + block // self.chunk_ratio

    def bitmap_entry(self, chunk: int) -> int:
        """The index of a sector bitmap block's entry."""
        return chunk * (self.chunk_ratio + 1) + self.chunk_ratio

    def is_bitmap_entry(self, index: int) -> bool:
        """Whether the entry with that index belongs to a sector bitmap block."""
        return index % (self.chunk_ratio + 1) == self.chunk_ratio

    def block_length(self, block: int) -> int:
        """The bytes of a block that lie on the virtual disk."""
        return min(self.block_size, self.virtual_size - block * self.block_size)


def bat_region_length(geometry: BatGeometry, *, has_parent: bool) -> int:
    """The length of a region that holds the table, in whole MiB."""
    return -(-geometry.entries(has_parent=has_parent) * ENTRY_SIZE // MIB) * MIB
