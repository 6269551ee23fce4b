"""Virtual disk files on the host, by the host itself: Msvm_ImageManagementService.

The host makes, converts and grows disks on paths that VMMS can open, so no byte passes through
the gateway.  All of it takes jobs; a job that vanished (VMMS restarted) leaves the outcome open,
which is said so.  Sizes are bytes.

`create_disk` never overwrites: the service fails the job when the file exists (0x80070050).
Source: Microsoft, "Msvm_ImageManagementService", "Msvm_VirtualHardDiskSettingData".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloudstack_hyperv.cim import ObjectPath, Uint16, Uint32, Uint64
from cloudstack_hyperv.cim.constants import NAMESPACE_CIMV2, VhdFormat, VhdType
from cloudstack_hyperv.hypervisor.errors import HypervisorError, WrongState, translated
from cloudstack_hyperv.hypervisor.jobs import ProgressCallback, call
from cloudstack_hyperv.wsman import errors as wsman
from cloudstack_hyperv.wsman.api import CimClient, EmbeddedInstance, Instance, Scalar
from cloudstack_hyperv.wsman.protocol.embedded import parse_embedded

_SERVICE: Final = "Msvm_ImageManagementService"
IMAGE_SERVICE: Final = ObjectPath.of(_SERVICE, CreationClassName=_SERVICE)
"""The singleton: its creation class name alone addresses it."""

IMAGE_TIMEOUT: Final = 10800.0
"""Seconds for a copy of a large disk; the command's own deadline is usually shorter."""

MIB: Final = 1 << 20
LARGEST_VHD: Final = 2040 << 30
LARGEST_VHDX: Final = 64 << 40


@dataclass(frozen=True, slots=True)
class HostDisk:
    """What the host says of a virtual disk file, its own metadata; sizes are bytes."""

    disk_type: VhdType
    disk_format: VhdFormat
    virtual_size: int
    sector: int
    """Logical sector size."""
    parent: str
    """Windows path of the parent of a differencing disk, "" for any other."""


_DELETED = 0
_NO_SUCH_FILE = 9
_DELETE_CODES: Final[Mapping[int, str]] = {
    2: "access denied",
    8: "unspecified failure",
    10: "the name is a folder's",
    15: "the file is in use",
    17: "a folder on the way does not exist",
}


_RENAME_CODES: Final[Mapping[int, str]] = {
    2: "access denied",
    8: "unspecified failure",
    9: "the name cannot be",
    10: "there is a file of that name",
    15: "the file is in use",
}


async def create_disk(
    client: CimClient,
    path: str,
    size: int,
    *,
    disk_format: VhdFormat = VhdFormat.VHDX,
    fixed: bool = False,
    block_size: int = 0,
) -> None:
    """Make a blank disk; `block_size` 0 leaves it to the host.  Raises HypervisorError."""
    values: dict[str, Scalar] = {
        "Type": Uint16(VhdType.FIXED if fixed else VhdType.DYNAMIC),
        "Format": Uint16(disk_format),
        "Path": path,
        "MaxInternalSize": Uint64(size),
    }
    if block_size and disk_format is VhdFormat.VHDX:
        values["BlockSize"] = Uint32(block_size)
    await call(
        client,
        IMAGE_SERVICE,
        "CreateVirtualHardDisk",
        {"VirtualDiskSettingData": _setting(values)},
        what=f"create {path}",
        timeout=IMAGE_TIMEOUT,
    )


async def create_differencing(
    client: CimClient, path: str, parent: str, *, disk_format: VhdFormat
) -> None:
    """Make a disk that holds only what differs from `parent`, which must not change any more."""
    values: dict[str, Scalar] = {
        "Type": Uint16(VhdType.DIFFERENCING),
        "Format": Uint16(disk_format),
        "Path": path,
        "ParentPath": parent,
    }
    await call(
        client,
        IMAGE_SERVICE,
        "CreateVirtualHardDisk",
        {"VirtualDiskSettingData": _setting(values)},
        what=f"create {path} over {parent}",
    )


async def convert_disk(
    client: CimClient,
    source: str,
    target: str,
    *,
    disk_format: VhdFormat,
    fixed: bool = False,
    block_size: int = 0,
    progress: ProgressCallback | None = None,
) -> None:
    """Copy a disk to a new file, flattening its chain of parents; the source must be at rest."""
    values: dict[str, Scalar] = {
        "Type": Uint16(VhdType.FIXED if fixed else VhdType.DYNAMIC),
        "Format": Uint16(disk_format),
        "Path": target,
    }
    if block_size and not fixed and disk_format is VhdFormat.VHDX:
        values["BlockSize"] = Uint32(block_size)
    await call(
        client,
        IMAGE_SERVICE,
        "ConvertVirtualHardDisk",
        {"SourcePath": source, "VirtualDiskSettingData": _setting(values)},
        what=f"copy {source} to {target}",
        timeout=IMAGE_TIMEOUT,
        progress=progress,
    )


async def read_disk(client: CimClient, path: str) -> HostDisk:
    """Ask the host for a disk's metadata; it can tell those of a running VM's disk too.

    Raises HypervisorError where there is no disk.
    """
    what = f"read the metadata of {path}"
    result = await call(
        client, IMAGE_SERVICE, "GetVirtualHardDiskSettingData", {"Path": path}, what=what
    )
    row = _embedded(result.out, "SettingData", what)
    try:
        return HostDisk(
            disk_type=VhdType(row.uint("Type") or 0),
            disk_format=VhdFormat(row.uint("Format") or 0),
            virtual_size=row.uint("MaxInternalSize") or 0,
            sector=row.uint("LogicalSectorSize") or 512,
            parent=row.string("ParentPath") or "",
        )
    except ValueError as error:
        raise HypervisorError(f"{what}: the host answers something unknown ({error})") from error


async def smallest_size(client: CimClient, path: str) -> int | None:
    """Ask the host how small a disk can become, None where it does not say.

    Raises HypervisorError where the file cannot be looked into, as one that is written to.
    """
    what = f"read the state of {path}"
    result = await call(client, IMAGE_SERVICE, "GetVirtualHardDiskState", {"Path": path}, what=what)
    return _embedded(result.out, "State", what).uint("MinInternalSize")


async def resize_disk(client: CimClient, path: str, size: int) -> None:
    """Set the virtual size of a disk that is nobody's parent.

    From 2012 R2 on the host also does so for a VHDX on a running VM's SCSI controller.
    """
    await call(
        client,
        IMAGE_SERVICE,
        "ResizeVirtualHardDisk",
        {"Path": path, "MaxInternalSize": Uint64(size)},
        what=f"resize {path} to {size} bytes",
        timeout=IMAGE_TIMEOUT,
    )


async def has_file(client: CimClient, path: str) -> bool:
    """Tell whether the host has a file; like `delete_file`, on its own drives only."""
    with translated(f"look for {path}"):
        try:
            await client.get(_data_file(path, "look for"))
        except wsman.NotFound:
            return False
    return True


async def rename_file(client: CimClient, path: str, new_path: str) -> None:
    """Let the host rename a file within one of its drives; never overwrites.

    Raises WrongState when the new name is taken or the file is open.
    """
    what = f"rename {path} to {new_path}"
    with translated(what):
        result = await client.invoke(_data_file(path, "rename"), "Rename", {"FileName": new_path})
    code = result.return_value
    if code != _DELETED:
        reason = _RENAME_CODES.get(code or 0, f"code {code}")
        raise WrongState(f"{what}: {reason}")


async def delete_file(client: CimClient, path: str) -> bool:
    """Let the host delete a file on one of its drives; False if it was not there.

    Unlike a deletion past the host, this one fails while the host has the file open.  UNC paths
    have no CIM_DataFile: raises HypervisorError for them.
    """
    target = _data_file(path, "delete")
    with translated(f"delete {path}"):
        try:
            result = await client.invoke(target, "Delete")
        except wsman.NotFound:
            return False
    code = result.return_value
    if code == _DELETED:
        return True
    if code == _NO_SUCH_FILE:
        return False
    reason = _DELETE_CODES.get(code or 0, f"code {code}")
    raise WrongState(f"delete {path}: {reason}")


def _data_file(path: str, purpose: str) -> ObjectPath:
    if path[1:2] != ":":
        raise HypervisorError(f"{purpose} {path}: the host does that on its own drives only")
    return ObjectPath.of("CIM_DataFile", namespace=NAMESPACE_CIMV2, Name=path)


def _embedded(out: Instance, name: str, what: str) -> Instance:
    """Return an out parameter that is an instance: as XML elements, or as text."""
    found = out.instances(name)
    if found:
        return found[0]
    text = out.string(name)
    if not text:
        raise HypervisorError(f"{what}: the host's answer has no {name}")
    return parse_embedded(text)


def _setting(values: dict[str, Scalar]) -> EmbeddedInstance:
    return EmbeddedInstance("Msvm_VirtualHardDiskSettingData", values)
