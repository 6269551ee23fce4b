"""What is known of a virtual disk from its metadata alone, whatever its format."""

import enum
import ntpath
from dataclasses import dataclass
from uuid import UUID

MIB = 1 << 20


class DiskFormat(enum.IntEnum):
    """Msvm_VirtualHardDiskSettingData.Format."""

    VHD = 2
    VHDX = 3


class DiskType(enum.IntEnum):
    """Msvm_VirtualHardDiskSettingData.Type."""

    FIXED = 2
    DYNAMIC = 3
    DIFFERENCING = 4


@dataclass(frozen=True, slots=True)
class ParentLocator:
    r"""Where a differencing disk looks for its parent, and by what it recognises it.

    `linkage` is the parent's DataWriteGuid (VHDX) or unique id (VHD) when the child was made;
    `linkage2` is the value that it will have after a merge that was under way ([MS-VHDX]
    2.6.2.6.3, note 12). Paths are Windows paths: `relative_path` to the child's folder,
    `volume_path` begins with ``\\?\Volume{guid}\``, `absolute_win32_path` with ``\\?\``.
    """

    linkage: UUID
    relative_path: str | None = None
    volume_path: str | None = None
    absolute_win32_path: str | None = None
    linkage2: UUID | None = None

    def candidate_paths(self, child_path: str) -> list[str]:
        """The parent's Windows paths in the order in which they are to be tried.

        `child_path` is the Windows path of the differencing disk itself. The order is that of
        [MS-VHDX] 2.6.2.6.3: relative, volume, absolute.
        """
        paths = []
        if self.relative_path:
            folder = ntpath.dirname(child_path)
            paths.append(ntpath.normpath(ntpath.join(folder, self.relative_path)))
        paths += [path for path in (self.volume_path, self.absolute_win32_path) if path]
        return list(dict.fromkeys(paths))


@dataclass(frozen=True, slots=True)
class DiskInfo:
    """A virtual disk's own description of itself. Sizes are bytes.

    `disk_id` is the VirtualDiskId of a VHDX or the unique id of a VHD. `linkage_id` is what a
    child of this disk must carry as `ParentLocator.linkage`. `parent` is set for differencing
    disks. `is_log_dirty` tells that the file was not closed cleanly: what is reported here is the
    state after its log is replayed.
    """

    format: DiskFormat
    type: DiskType
    virtual_size: int
    block_size: int
    logical_sector_size: int
    physical_sector_size: int
    disk_id: UUID
    linkage_id: UUID
    parent: ParentLocator | None
    file_size: int
    is_log_dirty: bool
