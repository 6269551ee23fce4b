"""A pool on a share: the host works on its UNC paths, the agent through the share's mount."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.emulation import agent_context, running_emulation
from tests.resource_host.storage_stage import (
    MIB,
    TEMPLATE_PATH,
    TEMPLATE_SIZE,
    VOLUME_UUID,
    StorageStage,
    equal_disks,
    make_disk,
    secondary_store,
    template,
    volume,
)

from cloudstack_hyperv.config import MountSettings
from cloudstack_hyperv.emulator.host.config import Share
from cloudstack_hyperv.messages.answers.monitoring import GetStorageStatsAnswer
from cloudstack_hyperv.messages.answers.storage import ModifyStoragePoolAnswer
from cloudstack_hyperv.messages.commands.monitoring import GetStorageStatsCommand
from cloudstack_hyperv.messages.commands.storage import (
    CreateObjectCommand,
    DeleteCommand,
    DestroyCommand,
    ModifyStoragePoolCommand,
)
from cloudstack_hyperv.messages.objects.storage import (
    PrimaryDataStoreTO,
    StorageFilerTO,
    TemplateObjectTO,
    VolumeTO,
)
from cloudstack_hyperv.resource.resource import Resource

UUID = "5fe2bad3-d785-394e-9949-89786b8a63d2"
QUERY = "?user=cloud&password=s3cr3t&domain=EXAMPLE"
POOL = PrimaryDataStoreTO(
    uuid=UUID,
    pool_type="SMB",
    host="10.1.1.6",
    path=f"/primary/vms{QUERY}",
    port=445,
    url=f"SMB://10.1.1.6/primary/vms{QUERY}/?ROLE=Primary&STOREUUID={UUID}",
)


@pytest.fixture
def share(tmp_path: Path) -> Path:
    folder = tmp_path / "share"
    (folder / "vms").mkdir(parents=True)
    return folder


@pytest.fixture
async def storage(tmp_path: Path, share: Path) -> AsyncIterator[StorageStage]:
    secondary = tmp_path / "secondary"
    async with (
        running_emulation(
            tmp_path,
            shares=(Share("10.1.1.6", "primary", share), Share("10.1.1.5", "secondary", secondary)),
        ) as emulation,
        agent_context(
            emulation,
            mounts=(MountSettings(host_path=r"\\10.1.1.6\primary", folder=str(share)),),
        ) as context,
    ):
        yield StorageStage(emulation, Resource(context))


async def test_an_smb_pools_whole_life(
    storage: StorageStage, share: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = share / "vms"
    modified = await storage.execute(
        ModifyStoragePoolCommand(
            add=True,
            pool=StorageFilerTO(uuid=UUID, type="SMB", host="10.1.1.6", path=POOL.path, port=445),
        )
    )
    assert isinstance(modified, ModifyStoragePoolAnswer)
    assert modified.result, modified.details
    assert modified.pool_info is not None
    assert modified.pool_info.local_path == r"\\10.1.1.6\primary\vms"
    assert modified.pool_info.host_path == "/primary/vms"

    source = storage.emulation.secondary / TEMPLATE_PATH
    make_disk(source)
    copied = await storage.copy(template(), template(None, image_data_store=POOL))
    assert copied.result, copied.details
    assert isinstance(copied.new_data, TemplateObjectTO)
    install_path = copied.new_data.path

    made = await storage.copy(
        template(install_path, image_data_store=POOL),
        volume(data_store=POOL, size=2 * TEMPLATE_SIZE),
    )
    assert made.result, made.details
    assert await equal_disks(source, folder / f"{VOLUME_UUID}.vhdx")
    data = "3b9d0f52-7f0e-4a53-8d0d-4a7d5f5c1a11"
    created = await storage.execute(
        CreateObjectCommand(data=volume(data, data_store=POOL, size=70 * MIB))
    )
    assert created.result, created.details

    out = await storage.copy(
        volume(path=data, data_store=POOL, format="VHDX"),
        volume(path="volumes/2/23", data_store=secondary_store()),
    )
    assert out.result, out.details

    for stem in (VOLUME_UUID, data):
        deleted = await storage.execute(DeleteCommand(data=volume(path=stem, data_store=POOL)))
        assert deleted.result, deleted.details
    evicted = VolumeTO(
        path=install_path,
        mount_point=POOL.path,
        storage_pool_type="SMB",
        storage_pool_uuid=UUID,
    )
    destroyed = await storage.execute(DestroyCommand(volume=evicted))
    assert destroyed.result, destroyed.details
    assert list(folder.iterdir()) == []
    assert "s3cr3t" not in capsys.readouterr().out


async def test_after_a_restart_a_share_is_known_by_its_mount(storage: StorageStage) -> None:
    answer = await storage.execute(
        GetStorageStatsCommand(id=UUID, local_path=f"/primary/vms{QUERY}", pooltype="SMB")
    )
    assert isinstance(answer, GetStorageStatsAnswer)
    assert answer.result, answer.details
    other = await storage.execute(
        GetStorageStatsCommand(id=UUID, local_path="/elsewhere", pooltype="SMB")
    )
    assert not other.result
