"""The image service: virtual disks made, read, grown, converted, chained."""

from __future__ import annotations

from cloudstack_hyperv.cim.constants import VhdFormat, VhdType
from cloudstack_hyperv.fieldwork.selftest.expectations import Findings, Source
from cloudstack_hyperv.fieldwork.selftest.refusals import refusal
from cloudstack_hyperv.fieldwork.selftest.stage import Stage
from cloudstack_hyperv.hypervisor import images
from cloudstack_hyperv.storage.windows_paths import same_path

SIZE = 64 * images.MIB
BASE, CHILD, FIXED, COPY = "base.vhdx", "child.vhdx", "fixed.vhd", "copy.vhdx"


async def play_create(stage: Stage, findings: Findings) -> None:
    """Make a dynamic and a fixed disk, read them, try to make one twice."""
    client, base, fixed = stage.client, stage.path(BASE), stage.path(FIXED)
    await images.create_disk(client, base, SIZE)
    disk = await images.read_disk(client, base)
    findings.expect("Type of a dynamic disk", Source.DOCUMENTED, VhdType.DYNAMIC, disk.disk_type)
    findings.expect("Format", Source.DOCUMENTED, VhdFormat.VHDX, disk.disk_format)
    findings.expect("MaxInternalSize", Source.DOCUMENTED, SIZE, disk.virtual_size)
    findings.expect("LogicalSectorSize by default", Source.DOCUMENTED, 512, disk.sector)
    await images.create_disk(client, fixed, SIZE, disk_format=VhdFormat.VHD, fixed=True)
    disk = await images.read_disk(client, fixed)
    findings.expect("Type of a fixed disk", Source.DOCUMENTED, VhdType.FIXED, disk.disk_type)
    findings.expect("its Format", Source.DOCUMENTED, VhdFormat.VHD, disk.disk_format)
    findings.expect(
        "a disk over a file that exists",
        Source.DOCUMENTED,
        "refused by the job",
        await refusal(images.create_disk(client, base, SIZE)),
    )
    findings.expect(
        "a disk in a folder that does not exist",
        Source.DOCUMENTED,
        "refused by the job",
        await refusal(images.create_disk(client, f"{stage.folder}\\nowhere\\a.vhdx", SIZE)),
    )
    findings.expect_true(
        "CIM_DataFile shows the file",
        Source.DOCUMENTED,
        await images.has_file(client, base),
    )


async def play_resize(stage: Stage, findings: Findings) -> None:
    """Grow a disk; ask how small it may become."""
    client, base = stage.client, stage.path(BASE)
    await images.resize_disk(client, base, 2 * SIZE)
    disk = await images.read_disk(client, base)
    findings.expect("MaxInternalSize after growing", Source.DOCUMENTED, 2 * SIZE, disk.virtual_size)
    smallest = await images.smallest_size(client, base)
    findings.expect_that(
        "MinInternalSize of an empty disk",
        Source.DOCUMENTED,
        f"none, or at most {2 * SIZE}",
        smallest,
        holds=smallest is None or smallest <= 2 * SIZE,
    )
    findings.expect_that(
        "a resize of a file that is not there",
        Source.DOCUMENTED,
        "refused",
        answer := await refusal(images.resize_disk(client, stage.path("nothing.vhdx"), SIZE)),
        holds=answer.startswith("refused"),
    )


async def play_chain(stage: Stage, findings: Findings) -> None:
    """Put a differencing disk on the base, and flatten it into a new one."""
    client, base, child = stage.client, stage.path(BASE), stage.path(CHILD)
    await images.create_differencing(client, child, base, disk_format=VhdFormat.VHDX)
    disk = await images.read_disk(client, child)
    findings.expect("Type", Source.DOCUMENTED, VhdType.DIFFERENCING, disk.disk_type)
    findings.expect_that(
        "ParentPath",
        Source.DOCUMENTED,
        "the base's path",
        "the base's path" if same_path(disk.parent, base) else disk.parent,
        holds=same_path(disk.parent, base),
    )
    findings.expect(
        "MaxInternalSize is the parent's", Source.DOCUMENTED, 2 * SIZE, disk.virtual_size
    )
    copy = stage.path(COPY)
    await images.convert_disk(client, child, copy, disk_format=VhdFormat.VHDX)
    disk = await images.read_disk(client, copy)
    findings.expect("Type of a converted chain", Source.DOCUMENTED, VhdType.DYNAMIC, disk.disk_type)
    findings.expect("it has no parent", Source.DOCUMENTED, "", disk.parent)
    await images.convert_disk(
        client, copy, stage.path("copy.vhd"), disk_format=VhdFormat.VHD, fixed=True
    )
    findings.expect_true(
        "CIM_DataFile.Delete of a disk", Source.DOCUMENTED, await _deleted(stage, child)
    )


async def _deleted(stage: Stage, path: str) -> bool:
    return await images.delete_file(stage.client, path) and not await images.has_file(
        stage.client, path
    )
