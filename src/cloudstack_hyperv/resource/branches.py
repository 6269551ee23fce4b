r"""Checkpoints' disks beside a volume: who must not write to it, and how much room they take.

A VM's checkpoints make differencing disks beside the volume, `<stem>_<GUID>.avhdx`.  While one is
there, the volume is frozen: a VM defined anew over it (another host, after the first kept the
definition) would write under a checkpoint's feet.  The name says enough to refuse; it is Hyper-V's
own, and only an operator can know a left-over from a disk in use.

What the checkpoints take is what CloudStack records as a volume's chain size, in addition to the
volume's own (`VMSnapshotStrategy` implementations, `CapacityManagerImpl.getAllocatedPoolCapacity`).
"""

from __future__ import annotations

import structlog

from cloudstack_hyperv.hypervisor.drives import is_branch_of
from cloudstack_hyperv.hypervisor.errors import WrongState
from cloudstack_hyperv.hypervisor.wish import DriveKind, MachineWish
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.storage.host_files import FileStatus, HostFileNotFound, PathNotReachable
from cloudstack_hyperv.storage.windows_paths import file_name, parent_folder, split_extension

log = structlog.get_logger(__name__)


async def require_no_branches(context: HostContext, wish: MachineWish) -> None:
    """Raise WrongState if a disk of the VM has checkpoints' disks beside it."""
    for drive in wish.drives:
        if drive.kind is not DriveKind.DISK or drive.file is None:
            continue
        found = await branches_of(context, drive.file)
        if found:
            raise WrongState(
                f"VM {wish.name}: {drive.file} has checkpoints ({found[0].path}), so it starts "
                "only on the host that has the VM's definition, and nowhere while disks are "
                "merged; start it there, or delete its VM snapshots there"
            )


async def branch_size(context: HostContext, path: str) -> int:
    """Return how many bytes the checkpoints of a volume take; 0 where no way leads there."""
    return sum(file.size for file in await branches_of(context, path))


async def branches_of(context: HostContext, path: str) -> list[FileStatus]:
    """Return the files of checkpoints over a disk."""
    stem = split_extension(file_name(path))[0]
    try:
        files = await context.files.list_folder(parent_folder(path))
    except PathNotReachable:
        log.warning("checkpoints' disks cannot be seen from here", path=path)
        return []
    except HostFileNotFound:
        return []
    return [
        file for file in files if not file.is_folder and is_branch_of(file_name(file.path), stem)
    ]
