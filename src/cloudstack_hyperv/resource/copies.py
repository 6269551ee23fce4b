"""CopyCommand: which of its cases a command is, and who carries it out.

What is copied (volume, template, snapshot) and where it lies (primary or image store) decide the
case; the decision is a pure function, so that what is supported can be read and tested in one
place.  Sources: CloudStack's StorageSubsystemCommandHandlerBase and KVMStorageProcessor for the
cases, AncientDataMotionStrategy for when they are sent.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import Final

from cloudstack_hyperv.messages.answers.storage import CopyCmdAnswer
from cloudstack_hyperv.messages.commands.storage import CopyCommand
from cloudstack_hyperv.messages.enums import ImageFormat
from cloudstack_hyperv.messages.objects.storage import (
    DataTO,
    PrimaryDataStoreTO,
    SnapshotObjectTO,
    TemplateObjectTO,
    VolumeObjectTO,
)
from cloudstack_hyperv.resource import template_copies, volume_copies
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.registry import handles


class CopyCase(enum.StrEnum):
    """What a CopyCommand asks for."""

    TEMPLATE_IN = "template from secondary to primary storage"
    ISO_IN = "ISO from secondary to primary storage"
    VOLUME_FROM_TEMPLATE = "volume from a template on primary storage"
    VOLUME_OUT = "volume from primary to secondary storage"
    VOLUME_IN = "volume from secondary to primary storage"
    TEMPLATE_FROM_VOLUME = "template on secondary storage from a volume"
    VOLUME_TO_POOL = "volume from one pool to another"


def copy_case(source: DataTO, destination: DataTO) -> CopyCase:
    """Return the case; raises CommandRefused for one that is not supported."""
    kinds = (_kind(source), _kind(destination))
    case = _CASES.get(kinds)
    if case is CopyCase.TEMPLATE_IN and _is_iso(source):
        return CopyCase.ISO_IN
    if case is None:
        snapshot = isinstance(source, SnapshotObjectTO) or isinstance(destination, SnapshotObjectTO)
        reason = "volume snapshots are not supported yet" if snapshot else "it is not supported"
        raise CommandRefused(f"copy of a {kinds[0]} to a {kinds[1]}: {reason}")
    return case


def _kind(data: DataTO) -> str:
    match data:
        case VolumeObjectTO():
            what, store = "volume", data.data_store
        case TemplateObjectTO():
            what, store = "template", data.image_data_store
        case SnapshotObjectTO():
            what, store = "snapshot", data.data_store
    if store is None:
        raise CommandRefused(f"the {what} names no store")
    return (
        f"{what} on {'primary' if isinstance(store, PrimaryDataStoreTO) else 'secondary'} storage"
    )


def _is_iso(data: DataTO) -> bool:
    return isinstance(data, TemplateObjectTO) and data.format == ImageFormat.ISO


_CASES: Final = {
    ("template on secondary storage", "template on primary storage"): CopyCase.TEMPLATE_IN,
    ("template on primary storage", "volume on primary storage"): CopyCase.VOLUME_FROM_TEMPLATE,
    ("volume on primary storage", "volume on secondary storage"): CopyCase.VOLUME_OUT,
    ("volume on secondary storage", "volume on primary storage"): CopyCase.VOLUME_IN,
    ("volume on primary storage", "template on secondary storage"): CopyCase.TEMPLATE_FROM_VOLUME,
    ("volume on primary storage", "volume on primary storage"): CopyCase.VOLUME_TO_POOL,
}

_CARRIED_OUT_BY: Final[
    dict[CopyCase, Callable[[CopyCommand, HostContext], Awaitable[CopyCmdAnswer]]]
] = {
    CopyCase.TEMPLATE_IN: template_copies.template_in,
    CopyCase.ISO_IN: template_copies.iso_in,
    CopyCase.VOLUME_FROM_TEMPLATE: template_copies.volume_from_template,
    CopyCase.TEMPLATE_FROM_VOLUME: template_copies.template_from_volume,
    CopyCase.VOLUME_OUT: volume_copies.volume_out,
    CopyCase.VOLUME_IN: volume_copies.volume_in,
    CopyCase.VOLUME_TO_POOL: volume_copies.volume_to_pool,
}


def _keys(command: CopyCommand) -> tuple[str, ...]:
    """Order by the volumes involved; a template is only read, by many at once."""
    volumes = (
        data for data in (command.src_to, command.dest_to) if isinstance(data, VolumeObjectTO)
    )
    stems = (data.path or data.uuid for data in volumes)
    # On secondary storage `path` is a folder or file of one volume; it serves as a key as well.
    return tuple(f"file:{stem}" for stem in stems if stem)


@handles(CopyCommand, ordered_by=_keys, page="Phase 1: template management, disks from templates")
async def copy(command: CopyCommand, context: HostContext) -> CopyCmdAnswer:
    """Carry out the copy; on failure nothing of it is left."""
    return await _CARRIED_OUT_BY[copy_case(command.src_to, command.dest_to)](command, context)
