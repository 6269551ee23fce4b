"""Flip, read back and restore: the image service on real files."""

from __future__ import annotations

from tests.emulator_host.driver import V2
from tests.emulator_host.round_trip import Bench, Trip, writes

from cloudstack_hyperv.emulator.cim.provider import Row, Value

IMAGES = "Msvm_ImageManagementService"
MOUNTED = "Msvm_MountedStorageImage"
FOLDER = "C:\\disks"
BASE, CHILD, COPY = (f"{FOLDER}\\{name}.vhdx" for name in ("base", "child", "copy"))
MIB = 2**20


async def prepared(bench: Bench, *, child: bool = False) -> None:
    """Make a disk, and one that stands on it."""
    bench.host.file(FOLDER).mkdir()
    assert await bench.host.create_disk(BASE, 16 * MIB) == 0
    if child:
        await branch(bench)


async def branch(bench: Bench) -> None:
    assert await bench.host.create({"Path": CHILD, "Type": 4, "ParentPath": BASE}) == 0


async def settings(bench: Bench, path: str, name: str) -> Value:
    reply = await bench.host.call(IMAGES, "GetVirtualHardDiskSettingData", Path=path)
    row = reply.out["SettingData"]
    assert isinstance(row, Row)
    return row.values[name]


async def files(bench: Bench) -> list[str]:
    return sorted(path.name for path in bench.host.file(FOLDER).iterdir())


async def drop(bench: Bench, path: str) -> None:
    keys = {"Name": path.lower()}
    await bench.invoke("root/cimv2", "CIM_DataFile", keys, "Delete")


@writes(IMAGES, "CreateVirtualHardDisk")
async def create_disk(bench: Bench) -> Trip:
    await prepared(bench)
    return Trip(
        lambda: files(bench),
        lambda: bench.host.create_disk(COPY, MIB),
        lambda: drop(bench, COPY),
    )


@writes(IMAGES, "CreateVirtualFloppyDisk")
async def create_floppy(bench: Bench) -> Trip:
    await prepared(bench)
    path = f"{FOLDER}\\boot.vfd"
    return Trip(
        lambda: files(bench),
        lambda: bench.host.done(IMAGES, "CreateVirtualFloppyDisk", Path=path),
        lambda: drop(bench, path),
    )


@writes(IMAGES, "ConvertVirtualHardDisk")
async def convert(bench: Bench) -> Trip:
    await prepared(bench)
    wish = Row("Msvm_VirtualHardDiskSettingData", {"Path": COPY, "Type": 2, "Format": 3})
    return Trip(
        lambda: files(bench),
        lambda: bench.host.done(
            IMAGES, "ConvertVirtualHardDisk", SourcePath=BASE, VirtualDiskSettingData=wish
        ),
        lambda: drop(bench, COPY),
    )


@writes(IMAGES, "ResizeVirtualHardDisk")
async def resize(bench: Bench) -> Trip:
    await prepared(bench)

    async def to(size: int) -> None:
        await bench.host.done(
            IMAGES, "ResizeVirtualHardDisk", Path=BASE, MaxInternalSize=size * MIB
        )

    return Trip(lambda: settings(bench, BASE, "MaxInternalSize"), lambda: to(32), lambda: to(16))


@writes(IMAGES, "CompactVirtualHardDisk")
async def compact(bench: Bench) -> Trip:
    """Blocks of zeros take room until the file is compacted."""
    await prepared(bench)

    async def fill() -> None:
        bench.host.write(BASE, 0, b"x" * 4096)
        bench.host.write(BASE, 0, bytes(4096))

    async def size() -> int:
        return bench.host.file(BASE).stat().st_size

    await fill()
    return Trip(
        size, lambda: bench.host.done(IMAGES, "CompactVirtualHardDisk", Path=BASE, Mode=0), fill
    )


@writes(IMAGES, "MergeVirtualHardDisk")
async def merge(bench: Bench) -> Trip:
    await prepared(bench, child=True)
    return Trip(
        lambda: files(bench),
        lambda: bench.host.done(
            IMAGES, "MergeVirtualHardDisk", SourcePath=CHILD, DestinationPath=BASE
        ),
        lambda: branch(bench),
    )


@writes(IMAGES, "SetParentVirtualHardDisk")
async def set_parent(bench: Bench) -> Trip:
    await prepared(bench, child=True)
    bench.host.file(COPY).write_bytes(bench.host.file(BASE).read_bytes())

    async def to(parent: str) -> None:
        await bench.host.done(
            IMAGES, "SetParentVirtualHardDisk", ChildPath=CHILD, ParentPath=parent
        )

    return Trip(lambda: settings(bench, CHILD, "ParentPath"), lambda: to(COPY), lambda: to(BASE))


async def mounts(bench: Bench) -> list[Value]:
    return [row.values["Name"] for row in await bench.host.rows(MOUNTED)]


async def attach(bench: Bench) -> None:
    await bench.host.done(IMAGES, "AttachVirtualHardDisk", Path=BASE)


async def detach(bench: Bench) -> None:
    (row,) = await bench.host.rows(MOUNTED)
    keys = dict(bench.host.engine.path_of(V2, row).keys)
    await bench.host.done(MOUNTED, "DetachVirtualHardDisk", keys)


@writes(IMAGES, "AttachVirtualHardDisk")
async def attaching(bench: Bench) -> Trip:
    await prepared(bench)
    return Trip(lambda: mounts(bench), lambda: attach(bench), lambda: detach(bench))


@writes(MOUNTED, "DetachVirtualHardDisk")
async def detaching(bench: Bench) -> Trip:
    await prepared(bench)
    await attach(bench)
    return Trip(lambda: mounts(bench), lambda: detach(bench), lambda: attach(bench))


@writes("Msvm_StorageJob", "RequestStateChange")
async def cancelled_storage_job(bench: Bench) -> Trip:
    """A job's end is its end: the value comes back with the next job."""
    await prepared(bench)
    started: list[dict[str, str]] = []

    async def start() -> None:
        reply = await bench.host.call(IMAGES, "CompactVirtualHardDisk", Path=BASE, Mode=0)
        started.append(dict(bench.created(reply, "Job").keys))

    async def state() -> bool:
        row = await bench.host.engine.get(V2, "Msvm_StorageJob", started[-1])
        return row.values["JobState"] in (2, 3, 4)

    await start()
    return Trip(
        state,
        lambda: bench.host.done(
            "Msvm_StorageJob", "RequestStateChange", started[-1], RequestedState=4
        ),
        start,
    )
