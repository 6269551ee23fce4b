"""CopyCommand: every case over the emulated host, contents compared by qemu-img."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from tests.emulation import SECONDARY_URL, Emulation, agent_context, running_emulation
from tests.resource_host.storage_stage import (
    MIB,
    POOL_UUID,
    TEMPLATE_PATH,
    TEMPLATE_SIZE,
    VOLUME_UUID,
    StorageStage,
    equal_disks,
    make_disk,
    primary_store,
    secondary_store,
    template,
    template_in_pool,
    virtual_size,
    volume,
)

from cloudstack_hyperv.cim.constants import JobState
from cloudstack_hyperv.emulator.host.config import Timings
from cloudstack_hyperv.hypervisor import images
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.messages.answers.storage import CopyCmdAnswer
from cloudstack_hyperv.messages.commands.storage import CopyCommand
from cloudstack_hyperv.messages.objects.storage import (
    PrimaryDataStoreTO,
    SnapshotObjectTO,
    TemplateObjectTO,
    VolumeObjectTO,
)
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.resource.storage_access import storage_access
from cloudstack_hyperv.storage.template_properties import parse_properties
from cloudstack_hyperv.vhd import (
    DiskFormat,
    OsFile,
    create_differencing,
    create_dynamic,
    open_disk,
    read_info,
)

TEMPLATE = "7d5a6a8e-2f42-3c3a-8c4e-1b1e5b7c9a01"


def new_template(answer: CopyCmdAnswer) -> TemplateObjectTO:
    assert answer.result, answer.details
    assert isinstance(answer.new_data, TemplateObjectTO)
    return answer.new_data


def new_volume(answer: CopyCmdAnswer) -> VolumeObjectTO:
    assert answer.result, answer.details
    assert isinstance(answer.new_data, VolumeObjectTO)
    return answer.new_data


def make_vhd(path: Path) -> None:
    """Make a VHD with some content."""
    with OsFile.create(path) as file:
        create_dynamic(file, TEMPLATE_SIZE, disk_format=DiskFormat.VHD)
    write_again(path, b"CloudStack")


def write_again(path: Path, content: bytes) -> None:
    """Write to a disk, as a guest would."""
    with OsFile(path, writable=True) as file, open_disk(file, writable=True) as disk:
        disk.write(5 * MIB, content.ljust(512, b"\0"))


def refused(answer: CopyCmdAnswer, reason: str) -> None:
    assert not answer.result
    assert reason in (answer.details or "")
    assert answer.new_data is None


# Template from secondary to primary storage


async def test_copy_command_brings_a_template_into_the_pool(storage: StorageStage) -> None:
    source = storage.emulation.secondary / TEMPLATE_PATH
    make_disk(source)
    with structlog.testing.capture_logs() as logs:
        answer = await storage.copy(template(), template_in_pool(None))
    made = new_template(answer)
    assert made.path is not None
    assert str(uuid.UUID(made.path)) == made.path
    assert (made.size, made.format) == (TEMPLATE_SIZE, "VHDX")
    assert made.physical_size == source.stat().st_size
    assert storage.in_pool() == [f"{made.path}.vhdx"]
    assert await equal_disks(source, storage.pool / f"{made.path}.vhdx")
    assert [line["fraction"] for line in logs if line["event"] == "copy progress"][-1] == 1.0


async def test_copy_command_finds_a_system_vm_template_by_its_properties(
    storage: StorageStage,
) -> None:
    folder = storage.emulation.secondary / "template/tmpl/1/9"
    make_disk(folder / "a.vhdx")
    make_disk(folder / "b.vhdx", content=b"other")
    source, destination = template("template/tmpl/1/9"), template_in_pool(None)
    refused(await storage.copy(source, destination), "does not hold exactly one disk")
    (folder / "template.properties").write_bytes(b"filename=gone.vhdx\n")
    refused(await storage.copy(source, destination), "gone.vhdx, which is not there")
    (folder / "template.properties").write_bytes(b"vhdx=true\nvhdx.filename=b.vhdx\n")
    made = new_template(await storage.copy(source, destination))
    assert await equal_disks(folder / "b.vhdx", storage.pool / f"{made.path}.vhdx")


async def test_copy_command_takes_the_only_disk_of_a_folder(storage: StorageStage) -> None:
    folder = storage.emulation.secondary / "template/tmpl/1/9"
    make_disk(folder / "systemvm.vhdx")
    (folder / "readme.txt").write_text("not a disk")
    new_template(await storage.copy(template("template/tmpl/1/9"), template_in_pool(None)))


@pytest.mark.parametrize("packing", ["gz", "bz2", "zip"])
async def test_copy_command_unpacks_a_template(storage: StorageStage, packing: str) -> None:
    source = storage.emulation.secondary / TEMPLATE_PATH
    make_disk(source)
    pack = {
        "gz": ["gzip", "-k", source.name],
        "bz2": ["bzip2", "-k", source.name],
        "zip": ["python3", "-m", "zipfile", "-c", f"{source.name}.zip", source.name],
    }[packing]
    if shutil.which(pack[0]) is None:
        pytest.skip(f"{pack[0]} is not installed")
    await asyncio.to_thread(subprocess.run, pack, cwd=source.parent, check=True)
    made = new_template(
        await storage.copy(template(f"{TEMPLATE_PATH}.{packing}"), template_in_pool(None))
    )
    assert made.physical_size == source.stat().st_size
    assert await equal_disks(source, storage.pool / f"{made.path}.vhdx")


async def test_copy_command_compares_the_checksum_where_it_applies(storage: StorageStage) -> None:
    source = storage.emulation.secondary / TEMPLATE_PATH
    make_disk(source)
    right = "{SHA-256}" + hashlib.sha256(source.read_bytes()).hexdigest()
    wrong = "{SHA-256}" + "0" * 64
    same = {"orig_url": "https://downloads.example.org/debian12.vhdx"}
    packed = {"orig_url": "https://downloads.example.org/debian12.vhdx.bz2"}
    refused(
        await storage.copy(template(checksum=wrong, **same), template_in_pool(None)), "checksum"
    )
    assert storage.in_pool() == []
    new_template(await storage.copy(template(checksum=right, **same), template_in_pool(None)))
    new_template(await storage.copy(template(checksum=wrong, **packed), template_in_pool(None)))


async def test_copy_command_refuses_what_cannot_be_trusted(storage: StorageStage) -> None:
    secondary = storage.emulation.secondary
    make_disk(secondary / "base.vhdx")
    with OsFile(secondary / "base.vhdx") as base, OsFile.create(secondary / "child.vhdx") as child:
        create_differencing(child, base, absolute_win32_path=r"\\?\C:\Windows\SAM.vhdx")
    (secondary / "page.vhdx").write_bytes(b"<html>404</html>" * 100)
    (secondary / "renamed.vhd").write_bytes((secondary / "base.vhdx").read_bytes())
    for path, reason in (
        ("child.vhdx", "differencing disk"),
        ("page.vhdx", "VHD"),
        ("renamed.vhd", "no VHD footer"),
        ("gone.vhdx", "not on the secondary store"),
        ("../secret.vhdx", "another folder"),
        (r"\\server\share\a.vhdx", "not a relative path"),
        ("C:/a.vhdx", "forbids"),
        ("NUL.vhdx", "device"),
    ):
        refused(await storage.copy(template(path), template_in_pool(None)), reason)
    assert storage.in_pool() == []


async def test_copy_command_refuses_a_store_to_which_no_way_leads(storage: StorageStage) -> None:
    for url in ("nfs://10.1.1.9/export", "cifs://10.9.9.9/x?user=u&password=hunter2"):
        source = template(image_data_store=secondary_store(url))
        answer = await storage.copy(source, template_in_pool(None))
        refused(answer, "storage.stores")
        assert "hunter2" not in (answer.details or "")


async def test_copy_command_brings_an_iso_into_the_pool(storage: StorageStage) -> None:
    iso = storage.emulation.make_iso("template/tmpl/2/210/a.iso")
    source = template("template/tmpl/2/210/a.iso", format="ISO")
    made = new_template(await storage.copy(source, template_in_pool(None, format="ISO")))
    assert (made.format, made.size) == ("ISO", iso.stat().st_size)
    assert (storage.pool / f"{made.path}.iso").read_bytes() == iso.read_bytes()
    iso.write_bytes(bytes(40000))
    refused(await storage.copy(source, template_in_pool(None, format="ISO")), "no ISO 9660 or UDF")


# Volume from a template


async def test_copy_command_makes_a_root_volume_grown_to_the_offering(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / f"{TEMPLATE}.vhdx")
    wanted = volume(size=2 * TEMPLATE_SIZE)
    made = new_volume(await storage.copy(template_in_pool(TEMPLATE), wanted))
    assert (made.path, made.size, made.format) == (VOLUME_UUID, 2 * TEMPLATE_SIZE, "VHDX")
    file = storage.pool / f"{VOLUME_UUID}.vhdx"
    assert virtual_size(file) == 2 * TEMPLATE_SIZE
    assert await equal_disks(storage.pool / f"{TEMPLATE}.vhdx", file)
    assert storage.in_pool() == sorted([f"{TEMPLATE}.vhdx", f"{VOLUME_UUID}.vhdx"])


async def test_copy_command_never_makes_a_volume_smaller_than_its_template(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / f"{TEMPLATE}.vhdx")
    made = new_volume(await storage.copy(template_in_pool(TEMPLATE), volume(size=MIB)))
    assert made.size == TEMPLATE_SIZE


async def test_copy_command_makes_a_fixed_volume_for_fat(storage: StorageStage) -> None:
    make_disk(storage.pool / f"{TEMPLATE}.vhdx")
    new_volume(await storage.copy(template_in_pool(TEMPLATE), volume(provisioning_type="FAT")))
    with OsFile(storage.pool / f"{VOLUME_UUID}.vhdx") as file:
        assert read_info(file).type.name == "FIXED"


async def test_copy_command_sent_again_finds_the_volume_made(storage: StorageStage) -> None:
    make_disk(storage.pool / f"{TEMPLATE}.vhdx")
    first = new_volume(await storage.copy(template_in_pool(TEMPLATE), volume()))
    before = (storage.pool / f"{VOLUME_UUID}.vhdx").read_bytes()
    assert new_volume(await storage.copy(template_in_pool(TEMPLATE), volume())) == first
    refused(
        await storage.copy(template_in_pool(TEMPLATE), volume(size=3 * TEMPLATE_SIZE)),
        "not touched",
    )
    assert (storage.pool / f"{VOLUME_UUID}.vhdx").read_bytes() == before


async def test_copy_command_does_not_touch_a_volume_that_a_vm_has(storage: StorageStage) -> None:
    make_disk(storage.pool / f"{TEMPLATE}.vhdx")
    make_disk(storage.pool / f"{VOLUME_UUID}.vhdx", content=b"precious")
    await storage.define_vm("someone", f"C:\\pool\\{VOLUME_UUID}.vhdx")
    refused(await storage.copy(template_in_pool(TEMPLATE), volume()), "attached to VM someone")


@pytest.mark.parametrize("grown", [1, 2])
async def test_copy_command_clones_by_differencing_where_that_is_set(
    emulated_host: Emulation, host_context: HostContext, grown: int
) -> None:
    settings = host_context.settings
    storage_settings = msgspec.structs.replace(settings.storage, clone="differencing")
    context = HostContext(
        msgspec.structs.replace(settings, storage=storage_settings),
        host_context.host,
        host_context.cim,
        host_context.files,
    )
    storage = StorageStage(emulated_host, Resource(context))
    make_disk(storage.pool / f"{TEMPLATE}.vhdx")
    wanted = volume(size=grown * TEMPLATE_SIZE)
    made = new_volume(await storage.copy(template_in_pool(TEMPLATE), wanted))
    assert made.size == grown * TEMPLATE_SIZE
    file = storage.pool / f"{VOLUME_UUID}.vhdx"
    assert file.stat().st_size < 8 * MIB
    with OsFile(file) as opened:
        assert read_info(opened).parent is not None


async def test_copy_command_refuses_a_template_that_is_not_there(storage: StorageStage) -> None:
    refused(await storage.copy(template_in_pool(TEMPLATE), volume()), "not in the pool")


@pytest.mark.parametrize("stem", ["..\\x", r"\\server\share\x", "a/b", "NUL", "x.vhdx", "a\x00"])
async def test_copy_command_refuses_a_bad_volume_path(storage: StorageStage, stem: str) -> None:
    make_disk(storage.pool / f"{TEMPLATE}.vhdx")
    answer = await storage.copy(template_in_pool(TEMPLATE), volume(path=stem))
    assert not answer.result
    assert storage.in_pool() == [f"{TEMPLATE}.vhdx"]


async def test_copy_command_that_runs_out_of_time_leaves_nothing(storage: StorageStage) -> None:
    make_disk(storage.pool / f"{TEMPLATE}.vhdx", size=TEMPLATE_SIZE)
    entered = asyncio.Event()

    async def slow_rename(path: str, new_path: str) -> None:
        entered.set()
        await asyncio.sleep(30)

    files = storage.resource.context.files
    files.rename = slow_rename  # type: ignore[method-assign] # the last step of the copy
    answer = await storage.copy(template_in_pool(TEMPLATE), volume(), wait=1)
    assert entered.is_set()
    refused(answer, "did not end within 1 s")
    assert storage.in_pool() == [f"{TEMPLATE}.vhdx"]


async def test_copy_command_that_runs_out_of_time_ends_the_hosts_job(tmp_path: Path) -> None:
    async with (
        running_emulation(tmp_path, timings=Timings(image=30.0)) as emulation,
        agent_context(emulation) as context,
    ):
        storage = StorageStage(emulation, Resource(context))
        make_disk(storage.pool / f"{TEMPLATE}.vhdx")
        refused(
            await storage.copy(template_in_pool(TEMPLATE), volume(), wait=1),
            "did not end within 1 s",
        )
        assert storage.in_pool() == [f"{TEMPLATE}.vhdx"]
        states = [row.uint("JobState") for row in await storage.cim.enumerate("Msvm_StorageJob")]
        assert states
        assert set(states) <= {JobState.TERMINATED, JobState.KILLED}


# Volumes out and in


async def test_copy_command_takes_a_volume_out_and_in_again(storage: StorageStage) -> None:
    file = storage.pool / f"{VOLUME_UUID}.vhdx"
    make_disk(file)
    outside = volume(path="volumes/2/23", data_store=secondary_store())
    out = new_volume(await storage.copy(volume(path=VOLUME_UUID), outside))
    assert out.path == f"volumes/2/23/{VOLUME_UUID}.vhdx"
    assert (out.size, out.format) == (TEMPLATE_SIZE, "VHDX")
    assert await equal_disks(file, storage.emulation.secondary / out.path)
    back = "3b9d0f52-7f0e-4a53-8d0d-4a7d5f5c1a11"
    source = volume(path=out.path, data_store=secondary_store())
    for _ in range(2):
        made = new_volume(await storage.copy(source, volume(back)))
        assert (made.path, made.size, made.format) == (back, TEMPLATE_SIZE, "VHDX")
    assert await equal_disks(file, storage.pool / f"{back}.vhdx")


async def test_copy_command_out_sent_again_finds_the_copy_made(storage: StorageStage) -> None:
    make_disk(storage.pool / f"{VOLUME_UUID}.vhdx")
    outside = volume(path="volumes/2/23", data_store=secondary_store())
    first = new_volume(await storage.copy(volume(path=VOLUME_UUID), outside))
    assert first.path is not None
    made = (storage.emulation.secondary / first.path).stat()
    again = new_volume(await storage.copy(volume(path=VOLUME_UUID), outside))
    assert again == first
    assert storage.in_secondary() == [first.path]
    assert (storage.emulation.secondary / first.path).stat() == made


async def test_copy_command_out_makes_a_new_copy_once_the_volume_has_changed(
    storage: StorageStage,
) -> None:
    """A copy of what the volume was is never taken for one of what it is."""
    file = storage.pool / f"{VOLUME_UUID}.vhdx"
    make_disk(file)
    outside = volume(path="volumes/2/23", data_store=secondary_store())
    first = new_volume(await storage.copy(volume(path=VOLUME_UUID), outside)).path
    kept = (storage.emulation.secondary / str(first)).read_bytes()
    write_again(file, b"changed")
    paths = set()
    for _ in range(2):
        paths.add(new_volume(await storage.copy(volume(path=VOLUME_UUID), outside)).path)
    (second,) = paths
    assert second != first
    assert await equal_disks(file, storage.emulation.secondary / str(second))
    assert (storage.emulation.secondary / str(first)).read_bytes() == kept
    assert storage.in_secondary() == sorted([str(first), str(second)])


async def test_copy_command_out_never_overwrites_what_is_in_the_store(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / f"{VOLUME_UUID}.vhdx")
    present = storage.emulation.secondary / f"volumes/2/23/{VOLUME_UUID}.vhdx"
    make_disk(present, content=b"of somebody else")
    kept = present.read_bytes()
    outside = volume(path="volumes/2/23", data_store=secondary_store())
    out = new_volume(await storage.copy(volume(path=VOLUME_UUID), outside))
    assert await equal_disks(
        storage.pool / f"{VOLUME_UUID}.vhdx", storage.emulation.secondary / str(out.path)
    )
    assert present.read_bytes() == kept
    assert len(storage.in_secondary()) == 2


async def test_copy_command_out_compares_a_vhd_byte_by_byte(storage: StorageStage) -> None:
    """A VHD's identity does not tell one content from another."""
    file = storage.pool / f"{VOLUME_UUID}.vhd"
    make_vhd(file)
    outside = volume(path="volumes/2/23", data_store=secondary_store())
    first = new_volume(await storage.copy(volume(path=VOLUME_UUID), outside)).path
    again = new_volume(await storage.copy(volume(path=VOLUME_UUID), outside)).path
    assert again == first == f"volumes/2/23/{VOLUME_UUID}.vhd"
    write_again(file, b"changed")
    third = new_volume(await storage.copy(volume(path=VOLUME_UUID), outside)).path
    assert third != first
    assert await equal_disks(file, storage.emulation.secondary / str(third))


async def test_copy_command_removes_what_a_crashed_copy_left_in_the_store(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / f"{VOLUME_UUID}.vhdx")
    folder = storage.emulation.secondary / "volumes/2/23"
    folder.mkdir(parents=True)
    temporary = storage_access(storage.resource.context).temporary
    with temporary.beside(rf"C:\x\{VOLUME_UUID}.vhdx") as path:
        leftover = folder / path.rpartition("\\")[2]
    leftover.touch()
    os.utime(leftover, (0, 0))
    outside = volume(path="volumes/2/23", data_store=secondary_store())
    out = new_volume(await storage.copy(volume(path=VOLUME_UUID), outside))
    assert storage.in_secondary() == [out.path]


async def test_copy_command_flattens_a_volume_on_its_way_out(storage: StorageStage) -> None:
    base, child = storage.pool / f"{TEMPLATE}.vhdx", storage.pool / f"{VOLUME_UUID}.vhdx"
    make_disk(base)
    with OsFile(base) as parent, OsFile.create(child) as file:
        create_differencing(file, parent, relative_path=f".\\{base.name}")
    outside = volume(path="volumes/2/23", data_store=secondary_store())
    out = new_volume(await storage.copy(volume(path=VOLUME_UUID), outside))
    copied = storage.emulation.secondary / str(out.path)
    with OsFile(copied) as opened:
        assert read_info(opened).parent is None
    assert await equal_disks(base, copied)
    assert storage.in_pool() == sorted([base.name, child.name])


async def test_copy_command_refuses_the_volume_of_a_running_vm(storage: StorageStage) -> None:
    make_disk(storage.pool / f"{VOLUME_UUID}.vhdx")
    await storage.define_vm("i-2-17-VM", f"C:\\pool\\{VOLUME_UUID}.vhdx", running=True)
    outside = volume(path="volumes/2/23", data_store=secondary_store())
    refused(await storage.copy(volume(path=VOLUME_UUID), outside), "VM i-2-17-VM, which is not off")
    assert storage.in_secondary() == []


async def test_copy_command_copies_a_volume_to_another_pool(storage: StorageStage) -> None:
    make_disk(storage.pool / f"{VOLUME_UUID}.vhdx")
    other = primary_store(r"C:\pool2", "5fe2bad3-d785-394e-9949-89786b8a63d2")
    refused(await storage.copy(volume(), volume(data_store=other)), "pool2")
    storage.emulation.path(r"C:\pool2").mkdir()
    made = new_volume(await storage.copy(volume(), volume(data_store=other)))
    assert made.path == VOLUME_UUID
    copied = storage.emulation.path(rf"C:\pool2\{VOLUME_UUID}.vhdx")
    assert await equal_disks(storage.pool / f"{VOLUME_UUID}.vhdx", copied)
    refused(await storage.copy(volume(), volume()), "lies already")


# Template from a volume


async def test_copy_command_makes_a_template_of_a_volume(storage: StorageStage) -> None:
    file = storage.pool / f"{VOLUME_UUID}.vhdx"
    make_disk(file)
    wanted = template("template/tmpl/2/205", id=205)
    made = new_template(await storage.copy(volume(path=VOLUME_UUID), wanted))
    assert made.path is not None
    assert made.path.startswith("template/tmpl/2/205/")
    assert made.path.endswith(f"{made.name}.vhdx")
    assert (made.size, made.format) == (TEMPLATE_SIZE, "VHDX")
    copied = storage.emulation.secondary / made.path
    assert made.physical_size == copied.stat().st_size
    assert await equal_disks(file, copied)
    values = parse_properties((copied.parent / "template.properties").read_bytes())
    assert values["filename"] == values["vhdx.filename"] == copied.name
    assert values["id"] == "205"
    assert values["virtualsize"] == str(TEMPLATE_SIZE)
    assert values["size"] == str(made.physical_size)
    # What we wrote is what we find when the template is copied in by its folder.
    new_template(await storage.copy(template("template/tmpl/2/205"), template_in_pool(None)))
    # The same command again finds what it made; another volume does not replace it.
    assert new_template(await storage.copy(volume(path=VOLUME_UUID), wanted)) == made
    write_again(file, b"changed")
    refused(await storage.copy(volume(path=VOLUME_UUID), wanted), "holds another template")
    assert len(storage.in_secondary()) == 2


async def test_copy_command_finishes_a_template_that_lacks_its_properties(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / f"{VOLUME_UUID}.vhdx")
    wanted = template("template/tmpl/2/205", id=205, format="RAW")
    made = new_template(await storage.copy(volume(path=VOLUME_UUID), wanted))
    (storage.emulation.secondary / "template/tmpl/2/205/template.properties").unlink()
    again = new_template(await storage.copy(volume(path=VOLUME_UUID), wanted))
    assert again == made
    assert storage.in_secondary() == sorted(
        [str(made.path), "template/tmpl/2/205/template.properties"]
    )


async def test_copy_command_flattens_a_volume_for_a_template_once(storage: StorageStage) -> None:
    base, child = storage.pool / f"{TEMPLATE}.vhdx", storage.pool / f"{VOLUME_UUID}.vhdx"
    make_disk(base)
    with OsFile(base) as parent, OsFile.create(child) as file:
        create_differencing(file, parent, relative_path=f".\\{base.name}")
    wanted = template("template/tmpl/2/205", id=205)
    first = new_template(await storage.copy(volume(path=VOLUME_UUID), wanted))
    assert new_template(await storage.copy(volume(path=VOLUME_UUID), wanted)) == first
    assert await equal_disks(base, storage.emulation.secondary / str(first.path))


# From format to format


async def test_copy_command_converts_where_formats_differ(storage: StorageStage) -> None:
    """A VHD template, a VHDX volume of it, out as VHD, in as VHDX: the content stays."""
    secondary = storage.emulation.secondary
    original = secondary / "template/tmpl/1/9/a.vhd"
    original.parent.mkdir(parents=True)
    make_vhd(original)
    made = new_template(
        await storage.copy(
            template("template/tmpl/1/9/a.vhd", format="VHD"), template_in_pool(None, format="VHD")
        )
    )
    assert made.format == "VHD"
    root = new_volume(
        await storage.copy(template_in_pool(made.path, format="VHD"), volume(format="VHDX"))
    )
    assert (root.format, root.size) == ("VHDX", TEMPLATE_SIZE)
    assert await equal_disks(original, storage.pool / f"{VOLUME_UUID}.vhdx")

    outside = volume(path="volumes/2/23", data_store=secondary_store(), format="VHD")
    paths = {
        new_volume(await storage.copy(volume(path=VOLUME_UUID), outside)).path for _ in range(2)
    }
    (path,) = paths
    assert str(path).endswith(".vhd")
    assert await equal_disks(original, secondary / str(path))

    back = "3b9d0f52-7f0e-4a53-8d0d-4a7d5f5c1a11"
    source = volume(path=path, data_store=secondary_store(), format="VHD")
    inside = new_volume(await storage.copy(source, volume(back, format="VHDX")))
    assert inside.format == "VHDX"
    assert await equal_disks(original, storage.pool / f"{back}.vhdx")
    assert [name for name in storage.in_pool() if "partial" in name] == []


async def test_copy_command_brings_a_template_in_as_the_format_it_is_registered_with(
    storage: StorageStage,
) -> None:
    """CloudStack later names the file by the registered format; another would not be found."""
    make_disk(storage.emulation.secondary / TEMPLATE_PATH)
    made = new_template(
        await storage.copy(template(format="VHD"), template_in_pool(None, format="VHD"))
    )
    assert (made.format, made.size) == ("VHD", TEMPLATE_SIZE)
    assert storage.in_pool() == [f"{made.path}.vhd"]
    assert await equal_disks(
        storage.emulation.secondary / TEMPLATE_PATH, storage.pool / f"{made.path}.vhd"
    )


async def test_copy_command_that_cannot_convert_leaves_nothing(
    storage: StorageStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_disk(storage.emulation.secondary / TEMPLATE_PATH)

    async def breaks(*_: Any, **__: Any) -> None:
        raise HypervisorError("broken on purpose")

    monkeypatch.setattr(images, "convert_disk", breaks)
    answer = await storage.copy(template(format="VHD"), template_in_pool(None, format="VHD"))
    refused(answer, "broken on purpose")
    assert storage.in_pool() == []


# Straight from secondary storage


@pytest.mark.parametrize("provisioning", ["THIN", "FAT"])
async def test_copy_command_makes_a_volume_straight_from_the_store(
    storage: StorageStage, provisioning: str
) -> None:
    source = storage.emulation.secondary / TEMPLATE_PATH
    make_disk(source)
    wanted = volume(size=2 * TEMPLATE_SIZE, provisioning_type=provisioning)
    for _ in range(2):
        made = new_volume(await storage.copy(template(), wanted))
        assert (made.path, made.size, made.format) == (VOLUME_UUID, 2 * TEMPLATE_SIZE, "VHDX")
    file = storage.pool / f"{VOLUME_UUID}.vhdx"
    assert await equal_disks(source, file)
    with OsFile(file) as opened:
        assert (read_info(opened).type.name == "FIXED") is (provisioning == "FAT")
    assert storage.in_pool() == [file.name]


# What is not supported


@pytest.mark.parametrize(
    ("source", "destination", "reason"),
    [
        (SnapshotObjectTO(data_store=secondary_store()), SnapshotObjectTO(), "names no store"),
        (volume(), SnapshotObjectTO(data_store=secondary_store()), "it is not supported"),
        (template(), template(), "it is not supported"),
        (volume(), volume(format="QCOW2", data_store=primary_store(r"C:\x")), "no disk 19ae"),
        (volume(data_store=None), volume(), "names no store"),
        (
            volume(),
            volume(data_store=PrimaryDataStoreTO(uuid=POOL_UUID, pool_type="RBD", path="x")),
            "cannot hold disks",
        ),
    ],
)
async def test_copy_command_refuses_other_cases_clearly(
    storage: StorageStage, source: Any, destination: Any, reason: str
) -> None:
    refused(await storage.copy(source, destination), reason)


async def test_copy_command_uses_the_stores_of_the_configuration(
    emulated_host: Emulation,
) -> None:
    """The direct door's CopyCommand carries no credentials: the URL alone finds the store."""
    make_disk(emulated_host.secondary / TEMPLATE_PATH)
    async with agent_context(emulated_host) as context:
        answer = await Resource(context).execute(
            CopyCommand(
                src_to=template(image_data_store=secondary_store(SECONDARY_URL.upper())),
                dest_to=template_in_pool(None),
            )
        )
    assert answer.result
