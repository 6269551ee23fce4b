"""Changing metadata items of an open VHDX, all or none ([MS-VHDX] 2.6.1)."""

from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

from cloudstack_hyperv.vhd.errors import UnsupportedDiskError
from cloudstack_hyperv.vhd.vhdx.image import VhdxImage
from cloudstack_hyperv.vhd.vhdx.metadata import (
    LOGICAL_SECTOR_SIZE,
    PHYSICAL_SECTOR_SIZE,
    VIRTUAL_DISK_ID,
    VIRTUAL_DISK_SIZE,
    MetadataTable,
    read_item,
    read_metadata,
)

_OWN_ITEMS = frozenset(
    {VIRTUAL_DISK_SIZE, VIRTUAL_DISK_ID, LOGICAL_SECTOR_SIZE, PHYSICAL_SECTOR_SIZE}
)

Item = tuple[UUID, int, bytes]
"""(item id, flags of the table entry, content)."""


def virtual_disk_items(image: VhdxImage) -> list[Item]:
    """The items that go with the virtual disk when it is forked or merged.

    Without those that describe its geometry, which this package writes itself.
    """
    region = image.description.regions.metadata
    return [
        (entry.item_id, entry.flags, read_item(image.file, region, entry))
        for entry in image.description.table.entries
        if entry.is_virtual_disk and entry.item_id not in _OWN_ITEMS
    ]


def change_items(image: VhdxImage, items: Iterable[Item], *, dropped: Iterable[UUID] = ()) -> None:
    """Set and drop items in one log entry; stable on return."""
    image.commit()
    region = image.description.regions.metadata
    gone = set(dropped)
    table = MetadataTable(
        tuple(entry for entry in image.description.table.entries if entry.item_id not in gone)
    )
    for item_id, flags, data in items:
        table = table.place(item_id, flags, len(data), region.length)
        placed = next(entry for entry in table.entries if entry.item_id == item_id)
        image.pages.write(region.offset + placed.offset, data)
    image.pages.write(region.offset, table.encode())
    if image.pages.room < 0:
        raise UnsupportedDiskError("the metadata items do not fit into one log entry")
    image.commit()
    metadata = read_metadata(image.file, region, table)
    image.description = replace(image.description, table=table, metadata=metadata)
