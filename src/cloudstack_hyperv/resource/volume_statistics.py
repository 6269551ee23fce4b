"""GetVolumeStatsCommand and GetVolumeStatCommand: how large volumes are, as disk and as file.

CloudStack names volumes by file stem.  The physical size is what the volume occupies: its file and
the differencing disks that checkpoints made beside it.  One that is not there, or whose file is
no disk (any more), is left out and said so in the log: the figures of all the others are still
worth having.  Nothing is asked of the host where its files can be read from here.

Sources: CloudStack's StatsCollector (VolumeStatsTask), VolumeStatsEntry.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from cloudstack_hyperv.hypervisor import images
from cloudstack_hyperv.hypervisor.drives import is_branch_of
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.messages.answers.monitoring import (
    GetVolumeStatAnswer,
    GetVolumeStatsAnswer,
)
from cloudstack_hyperv.messages.commands.monitoring import (
    GetVolumeStatCommand,
    GetVolumeStatsCommand,
)
from cloudstack_hyperv.messages.objects.storage import VolumeStatsEntry
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.registry import handles
from cloudstack_hyperv.resource.storage_access import storage_access
from cloudstack_hyperv.storage.host_files import FileStatus, HostFileError
from cloudstack_hyperv.storage.locations import DISK_FORMATS
from cloudstack_hyperv.storage.windows_paths import file_name, folded
from cloudstack_hyperv.vhd import VhdError

log = structlog.get_logger(__name__)


@handles(GetVolumeStatsCommand, page="Phase 1: storage statistics")
async def get_volume_stats(
    command: GetVolumeStatsCommand, context: HostContext
) -> GetVolumeStatsAnswer:
    """Measure volumes of a pool; its folder is listed once, whatever their number."""
    files = await _files_of(command.pool_uuid, context)
    found = {}
    for stem in command.volume_uuids:
        entry = await _measured(context, files, stem)
        if entry is not None:
            found[stem] = entry
    return GetVolumeStatsAnswer(
        result=True,
        pool_uuid=command.pool_uuid,
        pool_type=command.pool_type,
        volume_stats=found,
    )


@handles(GetVolumeStatCommand, page="Phase 1: storage statistics")
async def get_volume_stat(
    command: GetVolumeStatCommand, context: HostContext
) -> GetVolumeStatAnswer:
    """Measure one volume; a failure if it is not there."""
    stem = command.volume_path or ""
    entry = await _measured(context, await _files_of(command.pool_uuid, context), stem)
    if entry is None:
        raise CommandRefused(f"no volume {ascii(stem)[:80]} in the pool {command.pool_uuid}")
    return GetVolumeStatAnswer(
        result=True,
        pool_uuid=command.pool_uuid,
        pool_type=command.pool_type,
        volume_path=stem,
        size=entry.physical_size,
        virtual_size=entry.virtual_size,
    )


async def _files_of(pool_uuid: str | None, context: HostContext) -> dict[str, FileStatus]:
    """Return the files of a pool by name, as Windows compares names."""
    folder = await storage_access(context).known_folder(pool_uuid)
    if folder is None:
        raise CommandRefused(f"storage pool {pool_uuid} is not known on this host yet")
    return {
        folded(file_name(file.path)): file
        for file in await context.files.list_folder(folder)
        if not file.is_folder
    }


async def _measured(
    context: HostContext, files: Mapping[str, FileStatus], stem: str
) -> VolumeStatsEntry | None:
    candidates = [files.get(folded(f"{stem}.{each}")) for each in DISK_FORMATS]
    present = [file for file in candidates if file is not None]
    if len(present) != 1:
        if present:
            log.warning("a volume has two files: not measured", volume=stem)
        return None
    path = present[0].path
    try:
        virtual_size = await _virtual_size(context, path)
    except (HypervisorError, VhdError) as error:
        log.warning("a volume's file is no usable disk", path=path, reason=str(error))
        return None
    branches = (file.size for file in files.values() if is_branch_of(file_name(file.path), stem))
    return VolumeStatsEntry(
        volume_uuid=stem,
        physical_size=present[0].size + sum(branches),
        virtual_size=virtual_size,
    )


async def _virtual_size(context: HostContext, path: str) -> int:
    try:
        return (await context.files.disk_info(path)).virtual_size
    except HostFileError:
        # A running VM's disk may be closed to everybody but the host.
        return (await images.read_disk(context.cim, path)).virtual_size
