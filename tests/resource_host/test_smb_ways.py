"""A host and stores reached by SMB alone: no folder of the gateway is a mount of theirs.

A real Samba server exports the emulated host's drive, as the host's own administrative share would
be, a secondary store and a second pool.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.emulation import HOST_ADDRESS, POOL, QUICK, running_emulation
from tests.resource_host.storage_stage import (
    TEMPLATE_PATH,
    TEMPLATE_SIZE,
    VOLUME_UUID,
    StorageStage,
    equal_disks,
    filer,
    make_disk,
    secondary_store,
    template,
    template_in_pool,
    volume,
)
from tests.storage_smb.samba_server import PASSWORD, SambaServer

from cloudstack_hyperv.config import (
    HostSettings,
    SecretSource,
    Settings,
    SmbSettings,
    StorageSettings,
    StoreSettings,
    WinrmSettings,
)
from cloudstack_hyperv.emulator.host.config import Drive, Share
from cloudstack_hyperv.messages.answers.storage import ModifyStoragePoolAnswer
from cloudstack_hyperv.messages.commands.storage import (
    CreateObjectCommand,
    DeleteCommand,
    ModifyStoragePoolCommand,
)
from cloudstack_hyperv.messages.objects.storage import (
    PrimaryDataStoreTO,
    SnapshotObjectTO,
    StorageFilerTO,
    TemplateObjectTO,
    VolumeObjectTO,
)
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.storage import copying
from cloudstack_hyperv.storage.composite_files import CompositeFiles


@dataclass
class Site:
    """The host, the Samba server, and the agent between."""

    stage: StorageStage
    samba: SambaServer
    store_url: str

    @property
    def pool(self) -> Path:
        return self.samba.folder / "C" / "pool"

    @property
    def secondary(self) -> Path:
        return self.samba.folder / "secondary"


@pytest.fixture
def samba(tmp_path: Path) -> Iterator[SambaServer]:
    folder = tmp_path / "samba"
    server = SambaServer.start(folder, shares={"primary": folder / "primary"})
    yield server
    server.stop()


@pytest.fixture
async def site(samba: SambaServer, tmp_path: Path) -> AsyncIterator[Site]:
    password = SecretSource(value=PASSWORD)
    store_url = f"cifs://127.0.0.1:{samba.port}/secondary"
    async with running_emulation(
        tmp_path,
        drives=(Drive("C", samba.folder / "C"),),
        shares=(Share("127.0.0.1", "primary", samba.folder / "primary"),),
        timings=QUICK,
    ) as emulation:
        (samba.folder / "C" / "pool").mkdir(exist_ok=True)
        host = HostSettings(
            name="hv1",
            winrm=WinrmSettings(address="127.0.0.1", user=samba.user, password=password),
            smb=SmbSettings(port=samba.port),
            private_address=HOST_ADDRESS,
            local_pool=POOL,
            emulated=True,
        )
        store = StoreSettings(url=store_url, user=samba.user, password=password)
        settings = Settings(hosts=(host,), storage=StorageSettings(stores=(store,)))
        client = emulation.client()
        files = CompositeFiles.of_host(host, settings.storage.stores)
        try:
            stage = StorageStage(emulation, Resource(HostContext(settings, host, client, files)))
            yield Site(stage, samba, store_url)
        finally:
            await files.close()
            await client.close()


@pytest.mark.parametrize("bulk", [False, True])
async def test_copy_command_goes_by_smb_both_ways(
    site: Site, monkeypatch: pytest.MonkeyPatch, bulk: bool
) -> None:
    if bulk:
        monkeypatch.setattr(copying, "BULK_FROM", 1)
    storage, outside = site.stage, secondary_store(site.store_url)
    make_disk(site.secondary / TEMPLATE_PATH)
    copied = await storage.copy(template(image_data_store=outside), template_in_pool(None))
    assert copied.result, copied.details
    assert isinstance(copied.new_data, TemplateObjectTO)
    made = await storage.copy(
        template_in_pool(copied.new_data.path), volume(size=2 * TEMPLATE_SIZE)
    )
    assert made.result, made.details
    assert await equal_disks(site.secondary / TEMPLATE_PATH, site.pool / f"{VOLUME_UUID}.vhdx")
    out = [
        await storage.copy(
            volume(path=VOLUME_UUID), volume(path="volumes/2/23", data_store=outside)
        )
        for _ in range(2)
    ]
    assert out[0].result, out[0].details
    assert out[0] == out[1]
    assert isinstance(out[0].new_data, VolumeObjectTO)
    there = site.secondary / str(out[0].new_data.path)
    assert await equal_disks(site.pool / f"{VOLUME_UUID}.vhdx", there)
    back = await storage.copy(volume(path=out[0].new_data.path, data_store=outside), volume("back"))
    assert back.result, back.details
    assert await equal_disks(there, site.pool / "back.vhdx")
    assert [name for name in site.pool.iterdir() if "partial" in name.name] == []


async def test_a_template_that_lies_on_the_pools_server_is_copied_by_that_server(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Store and pool are shares of one server with one login: no byte passes the agent."""
    monkeypatch.setattr(copying, "BULK_FROM", 1)

    async def not_wanted(*_: object, **__: object) -> None:
        raise AssertionError("the agent copied")

    monkeypatch.setattr(copying, "bulk_copy", not_wanted)
    storage, samba = site.stage, site.samba
    query = f"?user={samba.user}&password={PASSWORD}"
    store = PrimaryDataStoreTO(
        uuid="5fe2bad3", pool_type="SMB", host="127.0.0.1", path=f"/primary{query}", port=samba.port
    )
    make_disk(site.secondary / TEMPLATE_PATH)
    copied = await storage.copy(
        template(image_data_store=secondary_store(f"{site.store_url}{query}")),
        template(None, image_data_store=store),
    )
    assert copied.result, copied.details
    (made,) = (samba.folder / "primary").iterdir()
    assert await equal_disks(site.secondary / TEMPLATE_PATH, made)


async def test_volume_snapshots_and_deletions_go_by_smb(site: Site) -> None:
    storage = site.stage
    make_disk(site.pool / f"{VOLUME_UUID}.vhdx")
    await storage.define_vm(
        "i-2-17-VM", f"{POOL}\\{VOLUME_UUID}.vhdx", running=True, ours=True, scsi=True
    )
    wanted = SnapshotObjectTO(id=41, volume=volume(path=VOLUME_UUID), vm_name="i-2-17-VM")
    answer = await storage.execute(CreateObjectCommand(data=wanted))
    assert answer.result, answer.details
    (snapshot,) = (site.pool / "snapshots").iterdir()
    assert await equal_disks(site.pool / f"{VOLUME_UUID}.vhdx", snapshot)
    refused = await storage.execute(DeleteCommand(data=volume(path=VOLUME_UUID)))
    assert "attached to VM i-2-17-VM" in (refused.details or "")
    modified = await storage.execute(ModifyStoragePoolCommand(add=True, pool=filer()))
    assert modified.result, modified.details


async def test_the_login_in_a_pools_path_is_used_and_not_shown(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """SMB pools come with user and password in their path; nothing else is configured for them."""
    storage, samba = site.stage, site.samba
    query = f"?user={samba.user}&password={PASSWORD}"
    pool = StorageFilerTO(
        uuid="5fe2bad3", type="SMB", host="127.0.0.1", path=f"/primary/vms{query}", port=samba.port
    )
    (samba.folder / "primary" / "vms").mkdir()
    modified = await storage.execute(ModifyStoragePoolCommand(add=True, pool=pool))
    assert isinstance(modified, ModifyStoragePoolAnswer)
    assert modified.result, modified.details
    store = PrimaryDataStoreTO(
        uuid=pool.uuid, pool_type="SMB", host=pool.host, path=pool.path, port=pool.port
    )
    created = await storage.execute(CreateObjectCommand(data=volume("data", data_store=store)))
    assert created.result, created.details
    assert (samba.folder / "primary" / "vms" / "data.vhdx").exists()
    deleted = await storage.execute(DeleteCommand(data=volume(path="data", data_store=store)))
    assert deleted.result, deleted.details
    assert list((samba.folder / "primary" / "vms").iterdir()) == []
    assert PASSWORD not in capsys.readouterr().out
