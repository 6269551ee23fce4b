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
from cloudstack_hyperv.resource import snapshot_copies, template_copies, volume_copies
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
    VOLUME_FROM_STORE = "volume straight from a template on secondary storage"
    SNAPSHOT_OUT = "volume snapshot from primary to secondary storage"
    VOLUME_FROM_SNAPSHOT = "volume from a volume snapshot"
    TEMPLATE_FROM_SNAPSHOT = "template on secondary storage from a volume snapshot"


def copy_case(source: DataTO, destination: DataTO) -> CopyCase:
    """Return the case; raises CommandRefused for one that is not supported."""
    kinds = (_kind(source), _kind(destination))
    case = _CASES.get(kinds)
    if case is CopyCase.TEMPLATE_IN and _is_iso(source):
        return CopyCase.ISO_IN
    if case is None:
        raise CommandRefused(f"copy of a {kinds[0]} to a {kinds[1]}: it is not supported")
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


_ON_PRIMARY, _ON_SECONDARY = "on primary storage", "on secondary storage"
_CASES: Final = {
    (f"template {_ON_SECONDARY}", f"template {_ON_PRIMARY}"): CopyCase.TEMPLATE_IN,
    (f"template {_ON_PRIMARY}", f"volume {_ON_PRIMARY}"): CopyCase.VOLUME_FROM_TEMPLATE,
    (f"template {_ON_SECONDARY}", f"volume {_ON_PRIMARY}"): CopyCase.VOLUME_FROM_STORE,
    (f"volume {_ON_PRIMARY}", f"volume {_ON_SECONDARY}"): CopyCase.VOLUME_OUT,
    (f"volume {_ON_SECONDARY}", f"volume {_ON_PRIMARY}"): CopyCase.VOLUME_IN,
    (f"volume {_ON_PRIMARY}", f"template {_ON_SECONDARY}"): CopyCase.TEMPLATE_FROM_VOLUME,
    (f"volume {_ON_PRIMARY}", f"volume {_ON_PRIMARY}"): CopyCase.VOLUME_TO_POOL,
    (f"snapshot {_ON_PRIMARY}", f"snapshot {_ON_SECONDARY}"): CopyCase.SNAPSHOT_OUT,
    (f"snapshot {_ON_PRIMARY}", f"volume {_ON_PRIMARY}"): CopyCase.VOLUME_FROM_SNAPSHOT,
    (f"snapshot {_ON_SECONDARY}", f"volume {_ON_PRIMARY}"): CopyCase.VOLUME_FROM_SNAPSHOT,
    (f"snapshot {_ON_PRIMARY}", f"template {_ON_SECONDARY}"): CopyCase.TEMPLATE_FROM_SNAPSHOT,
    (f"snapshot {_ON_SECONDARY}", f"template {_ON_SECONDARY}"): CopyCase.TEMPLATE_FROM_SNAPSHOT,
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
    CopyCase.VOLUME_FROM_STORE: template_copies.volume_from_store,
    CopyCase.SNAPSHOT_OUT: snapshot_copies.snapshot_out,
    CopyCase.VOLUME_FROM_SNAPSHOT: snapshot_copies.volume_from_snapshot,
    CopyCase.TEMPLATE_FROM_SNAPSHOT: snapshot_copies.template_from_snapshot,
}


def _keys(command: CopyCommand) -> tuple[str, ...]:
    """Order by what is read and written; a template that is read is read by many at once."""
    source, destination = command.src_to, command.dest_to
    keys = [_key(source)] if not isinstance(source, TemplateObjectTO) else []
    if not isinstance(destination, TemplateObjectTO) or destination.path:
        keys.append(_key(destination))
    return tuple(key for key in keys if key)


def _key(data: DataTO) -> str:
    # On secondary storage `path` is a folder or file of one object; it serves as a key as well.
    stem = data.path if isinstance(data, SnapshotObjectTO) else data.path or data.uuid
    return f"file:{stem}" if stem else ""


@handles(CopyCommand, ordered_by=_keys, page="Phase 1: template management, disks from templates")
async def copy(command: CopyCommand, context: HostContext) -> CopyCmdAnswer:
    """Carry out the copy; on failure nothing of it is left."""
    return await _CARRIED_OUT_BY[copy_case(command.src_to, command.dest_to)](command, context)
