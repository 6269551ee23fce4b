"""Virtual hard disk files, byte by byte: VHDX ([MS-VHDX]) and VHD, over any random-access file.

The agent reads metadata of templates and volumes with it before it trusts them; the emulated host
does all of Msvm_ImageManagementService with it. It does no input and output of its own, knows
nothing else of this project, and treats every file as hostile: see `VhdError`.
"""

from cloudstack_hyperv.vhd.compacting import compact
from cloudstack_hyperv.vhd.copying import convert, copy_content
from cloudstack_hyperv.vhd.creating import create_differencing, create_dynamic, create_fixed
from cloudstack_hyperv.vhd.disk import Disk, DiskRange, Extent, ExtentKind, Progress
from cloudstack_hyperv.vhd.errors import (
    CorruptDiskError,
    DiskParameterError,
    DiskRangeError,
    DiskShrinkError,
    NotADiskError,
    ParentMismatchError,
    ParentNotFoundError,
    ReadOnlyDiskError,
    UnsupportedDiskError,
    VhdError,
)
from cloudstack_hyperv.vhd.files import MemoryFile, OsFile, RandomAccessFile
from cloudstack_hyperv.vhd.info import DiskFormat, DiskInfo, DiskType, ParentLocator
from cloudstack_hyperv.vhd.merging import merge
from cloudstack_hyperv.vhd.opening import ParentResolver, format_of_name, open_disk, read_info
from cloudstack_hyperv.vhd.reparenting import set_parent
from cloudstack_hyperv.vhd.resizing import minimum_size, resize
from cloudstack_hyperv.vhd.vhdx.create import DEFAULT_BLOCK_SIZE, LINUX_BLOCK_SIZE

__all__ = [
    "DEFAULT_BLOCK_SIZE",
    "LINUX_BLOCK_SIZE",
    "CorruptDiskError",
    "Disk",
    "DiskFormat",
    "DiskInfo",
    "DiskParameterError",
    "DiskRange",
    "DiskRangeError",
    "DiskShrinkError",
    "DiskType",
    "Extent",
    "ExtentKind",
    "MemoryFile",
    "NotADiskError",
    "OsFile",
    "ParentLocator",
    "ParentMismatchError",
    "ParentNotFoundError",
    "ParentResolver",
    "Progress",
    "RandomAccessFile",
    "ReadOnlyDiskError",
    "UnsupportedDiskError",
    "VhdError",
    "compact",
    "convert",
    "copy_content",
    "create_differencing",
    "create_dynamic",
    "create_fixed",
    "format_of_name",
    "merge",
    "minimum_size",
    "open_disk",
    "read_info",
    "resize",
    "set_parent",
]
