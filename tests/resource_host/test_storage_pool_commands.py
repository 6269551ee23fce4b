"""Storage pools: usable or not, measured, given up without a file touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.emulation import HOST_ADDRESS, POOL, agent_context, running_emulation
from tests.resource_host.storage_stage import (
    POOL_UUID,
    TEMPLATE_SIZE,
    VOLUME_UUID,
    StorageStage,
    filer,
    make_disk,
    secondary_store,
)

from cloudstack_hyperv.config import MountSettings
from cloudstack_hyperv.emulator.host.config import SharedVolume
from cloudstack_hyperv.messages import to_json
from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.monitoring import (
    GetStorageStatsAnswer,
    GetVolumeStatAnswer,
    GetVolumeStatsAnswer,
)
from cloudstack_hyperv.messages.answers.storage import ModifyStoragePoolAnswer
from cloudstack_hyperv.messages.commands.monitoring import (
    GetStorageStatsCommand,
    GetVolumeStatCommand,
    GetVolumeStatsCommand,
)
from cloudstack_hyperv.messages.commands.storage import (
    CreateStoragePoolCommand,
    DeleteStoragePoolCommand,
    ModifyStoragePoolCommand,
)
from cloudstack_hyperv.messages.objects.storage import StorageFilerTO
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.resource.storage_access import local_pool_uuid


async def test_create_storage_pool_command_tests_the_folder(storage: StorageStage) -> None:
    answer = await storage.execute(CreateStoragePoolCommand(add=True, pool=filer()))
    assert type(answer) is Answer
    assert answer.result
    assert storage.in_pool() == []


async def test_modify_storage_pool_command_measures_the_pool(storage: StorageStage) -> None:
    answer = await storage.execute(
        ModifyStoragePoolCommand(add=True, pool=filer(), local_path="/mnt//x")
    )
    assert isinstance(answer, ModifyStoragePoolAnswer)
    assert answer.result
    assert answer.pool_info is not None
    assert answer.pool_info.local_path == POOL
    assert answer.pool_info.uuid == POOL_UUID
    assert answer.template_info == {}
    assert 0 < answer.pool_info.available_bytes <= answer.pool_info.capacity_bytes
    assert storage.in_pool() == []


@pytest.mark.parametrize(
    ("pool", "reason"),
    [
        (filer(r"C:\nowhere"), "does not exist"),
        (filer(r"D:\pool"), "no configured way"),
        (filer(r"C:\pool\..\Windows"), "another folder"),
        (filer("/export/pool", kind="NetworkFilesystem"), "cannot hold disks"),
        (filer("", kind="Filesystem"), "no path"),
        (filer(r"\\.\PhysicalDrive0"), "device path"),
    ],
)
async def test_modify_storage_pool_command_fails_in_its_own_class(
    storage: StorageStage, pool: StorageFilerTO, reason: str
) -> None:
    answer = await storage.execute(ModifyStoragePoolCommand(add=True, pool=pool))
    assert isinstance(answer, ModifyStoragePoolAnswer)
    assert not answer.result
    assert reason in (answer.details or "")
    created = await storage.execute(CreateStoragePoolCommand(add=True, pool=pool))
    assert not created.result


async def test_modify_storage_pool_command_shows_no_credentials(
    storage: StorageStage, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = StorageFilerTO(
        uuid=POOL_UUID,
        type="SMB",
        host="10.1.1.6",
        port=445,
        path="/primary?user=cloud&password=hunter2&domain=EXAMPLE",
    )
    answer = await storage.execute(ModifyStoragePoolCommand(add=True, pool=pool))
    assert not answer.result
    assert r"\\10.1.1.6\primary" in (answer.details or "")
    assert "hunter2" not in str(to_json(answer)) + capsys.readouterr().out


async def test_delete_storage_pool_command_never_touches_data(storage: StorageStage) -> None:
    make_disk(storage.pool / f"{VOLUME_UUID}.vhdx")
    for _ in range(2):
        answer = await storage.execute(
            DeleteStoragePoolCommand(pool=filer(), remove_datastore=True)
        )
        assert answer.result
    assert storage.in_pool() == [f"{VOLUME_UUID}.vhdx"]


async def test_get_storage_stats_command_writes_both_spellings(storage: StorageStage) -> None:
    answer = await storage.execute(
        GetStorageStatsCommand(id=POOL_UUID, local_path=POOL, pooltype="Filesystem")
    )
    assert isinstance(answer, GetStorageStatsAnswer)
    written = to_json(answer)
    assert written["used"] == written["usedBytes"] >= 0
    assert written["capacity"] == written["capacityBytes"] > 0


async def test_get_storage_stats_command_measures_a_secondary_store(storage: StorageStage) -> None:
    answer = await storage.execute(GetStorageStatsCommand(store=secondary_store()))
    assert isinstance(answer, GetStorageStatsAnswer)
    assert answer.result
    assert answer.capacity_bytes > answer.used_bytes > 0


async def test_get_storage_stats_command_of_an_unknown_pool_says_so(storage: StorageStage) -> None:
    answer = await storage.execute(
        GetStorageStatsCommand(id=POOL_UUID, local_path="/primary", pooltype="SMB")
    )
    assert not answer.result
    assert POOL_UUID in (answer.details or "")


async def test_get_volume_stats_command_measures_by_stem(storage: StorageStage) -> None:
    make_disk(storage.pool / f"{VOLUME_UUID}.vhdx")
    local = local_pool_uuid(HOST_ADDRESS, POOL)
    answer = await storage.execute(
        GetVolumeStatsCommand(
            volume_uuids=[VOLUME_UUID, "gone", "..\\x"], pool_uuid=local, pool_type="Filesystem"
        )
    )
    assert isinstance(answer, GetVolumeStatsAnswer)
    assert answer.volume_stats is not None
    assert list(answer.volume_stats) == [VOLUME_UUID]
    entry = answer.volume_stats[VOLUME_UUID]
    assert entry.virtual_size == TEMPLATE_SIZE
    assert entry.physical_size == (storage.pool / f"{VOLUME_UUID}.vhdx").stat().st_size


async def test_get_volume_stats_command_knows_a_pool_that_was_modified(
    storage: StorageStage,
) -> None:
    command = GetVolumeStatsCommand(volume_uuids=[VOLUME_UUID], pool_uuid=POOL_UUID)
    assert not (await storage.execute(command)).result
    await storage.execute(ModifyStoragePoolCommand(add=True, pool=filer()))
    assert (await storage.execute(command)).result


async def test_get_volume_stats_command_counts_what_checkpoints_hold(
    storage: StorageStage,
) -> None:
    file = storage.pool / f"{VOLUME_UUID}.vhdx"
    make_disk(file)
    await storage.execute(ModifyStoragePoolCommand(add=True, pool=filer()))
    guid = await storage.define_vm("i-2-17-VM", f"{POOL}\\{file.name}", running=True, ours=True)
    await storage.checkpoint(guid)
    (storage.pool / "broken.vhdx").write_bytes(b"no disk")
    (storage.pool / "twice.vhdx").touch()
    (storage.pool / "twice.vhd").touch()
    answer = await storage.execute(
        GetVolumeStatsCommand(
            volume_uuids=["broken", "twice", VOLUME_UUID], pool_uuid=POOL_UUID, pool_type="x"
        )
    )
    assert isinstance(answer, GetVolumeStatsAnswer)
    assert answer.volume_stats is not None
    assert list(answer.volume_stats) == [VOLUME_UUID], "one bad file spoils nothing"
    (branch,) = storage.pool.glob("*.avhdx")
    held = file.stat().st_size + branch.stat().st_size
    assert answer.volume_stats[VOLUME_UUID].physical_size == held


async def test_get_volume_stat_command_measures_one_volume(storage: StorageStage) -> None:
    make_disk(storage.pool / f"{VOLUME_UUID}.vhdx")
    local = local_pool_uuid(HOST_ADDRESS, POOL)
    answer = await storage.execute(GetVolumeStatCommand(volume_path=VOLUME_UUID, pool_uuid=local))
    assert isinstance(answer, GetVolumeStatAnswer)
    assert answer.result
    assert answer.virtual_size == TEMPLATE_SIZE
    assert answer.size == (storage.pool / f"{VOLUME_UUID}.vhdx").stat().st_size
    gone = await storage.execute(GetVolumeStatCommand(volume_path="gone", pool_uuid=local))
    assert not gone.result


async def test_pools_on_cluster_shared_volumes_are_measured_each_by_its_own(
    tmp_path: Path,
) -> None:
    """Volumes mounted in folders: the longest path that fits is the one that counts."""
    csv = "C:\\ClusterStorage"
    volumes = tuple(
        SharedVolume(f"{csv}\\{name}", tmp_path / name, capacity=size << 30)
        for name, size in (("Volume1", 300), ("Volume2", 500))
    )
    mounts = [MountSettings(host_path=v.path, folder=str(v.folder)) for v in volumes]
    folders = (f"{csv}\\Volume1\\pool", f"{csv}\\Volume2", f"{csv}\\volume2\\deep\\er", POOL)
    sizes = []
    async with running_emulation(tmp_path, volumes=volumes) as emulation:
        mounts.append(MountSettings(host_path="C:\\", folder=str(emulation.folder / "c")))
        for folder in ("Volume1/pool", "Volume2/deep/er"):
            (tmp_path / folder).mkdir(parents=True)
        async with agent_context(emulation, mounts=tuple(mounts)) as context:
            resource = Resource(context)
            for number, folder in enumerate(folders):
                pool = filer(folder, uuid=f"pool-{number}")
                answer = await resource.execute(ModifyStoragePoolCommand(add=True, pool=pool))
                assert isinstance(answer, ModifyStoragePoolAnswer)
                assert answer.result, answer.details
                assert answer.pool_info is not None
                assert answer.pool_info.local_path == folder
                sizes.append(answer.pool_info.capacity_bytes >> 30)
            for number in range(len(folders)):
                stats = await resource.execute(GetStorageStatsCommand(id=f"pool-{number}"))
                assert isinstance(stats, GetStorageStatsAnswer)
                assert stats.capacity_bytes >> 30 == sizes[number]
    assert sizes[:3] == [300, 500, 500]
    assert sizes[3] not in (300, 500)
