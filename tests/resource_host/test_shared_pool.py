"""One pool, two hosts: a disk of a VM on the other host is as safe as one of this host's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.emulation import agent_context, running_emulation
from tests.resource_host.storage_stage import (
    TEMPLATE_SIZE,
    VOLUME_UUID,
    StorageStage,
    equal_disks,
    make_disk,
    virtual_size,
    volume,
)

from cloudstack_hyperv.config import MountSettings
from cloudstack_hyperv.emulator.host.config import Share
from cloudstack_hyperv.hypervisor.attachments import list_attachments
from cloudstack_hyperv.hypervisor.checkpoints import list_checkpoints
from cloudstack_hyperv.messages.commands.migration import MigrateVolumeCommand
from cloudstack_hyperv.messages.commands.storage import (
    CreateObjectCommand,
    DeleteCommand,
    ResizeVolumeCommand,
)
from cloudstack_hyperv.messages.objects.storage import (
    PrimaryDataStoreTO,
    SnapshotObjectTO,
    StorageFilerTO,
)
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.resource import Resource

SHARE = r"\\fileserver\vms"
FILE = f"{VOLUME_UUID}.vhdx"
PATH = f"{SHARE}\\{FILE}"
STORE = PrimaryDataStoreTO(uuid="shared", pool_type="SMB", host="fileserver", path="/vms")
FILER = StorageFilerTO(uuid="shared", type="SMB", host="fileserver", path="/vms")
VM = "i-2-17-VM"


@dataclass
class Pair:
    """This host and the other one."""

    here: StorageStage
    there: StorageStage
    pool: Path


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    pool = tmp_path / "shared"
    pool.mkdir()
    peers: dict[str, HostContext] = {}
    stages = []
    async with AsyncExitStack() as stack:
        for number in (1, 2):
            emulation = await stack.enter_async_context(
                running_emulation(
                    tmp_path / f"host{number}",
                    name=f"HV{number}",
                    shares=(Share("fileserver", "vms", pool),),
                )
            )
            made = await stack.enter_async_context(
                agent_context(
                    emulation,
                    name=f"hv{number}",
                    mounts=(MountSettings(host_path=SHARE, folder=str(pool)),),
                )
            )
            context = HostContext(made.settings, made.host, made.cim, made.files, peers=peers)
            peers[f"192.0.2.{number}"] = context
            stages.append(StorageStage(emulation, Resource(context)))
        yield Pair(stages[0], stages[1], pool)


async def test_delete_command_sees_the_vms_of_other_hosts(pair: Pair) -> None:
    make_disk(pair.pool / FILE)
    await pair.there.define_vm(VM, PATH, ours=False)
    command = DeleteCommand(data=volume(path=VOLUME_UUID, data_store=STORE))
    answer = await pair.here.execute(command)
    assert f"attached to VM {VM}" in (answer.details or "")
    assert (pair.pool / FILE).exists()


async def test_delete_command_detaches_from_a_vm_of_ours_that_is_off_on_another_host(
    pair: Pair,
) -> None:
    make_disk(pair.pool / FILE)
    await pair.there.define_vm(VM, PATH, ours=True)
    command = DeleteCommand(data=volume(path=VOLUME_UUID, data_store=STORE))
    answer = await pair.here.execute(command)
    assert answer.result, answer.details
    assert await list_attachments(pair.there.cim) == ()
    assert not (pair.pool / FILE).exists()


async def test_migrate_volume_command_sees_the_vms_of_other_hosts(pair: Pair) -> None:
    make_disk(pair.pool / FILE)
    await pair.there.define_vm(VM, PATH, running=True, ours=True)
    other = StorageFilerTO(uuid="o", type="SMB", host="fileserver", path="/vms/other")
    (pair.pool / "other").mkdir()
    command = MigrateVolumeCommand(volume_path=VOLUME_UUID, source_pool=FILER, pool=other)
    answer = await pair.here.execute(command)
    assert f"attached to VM {VM}" in (answer.details or "")
    assert (pair.pool / FILE).exists()


async def test_resize_volume_command_is_carried_out_where_the_vm_runs(pair: Pair) -> None:
    make_disk(pair.pool / FILE)
    await pair.there.define_vm(VM, PATH, running=True, ours=True, scsi=True)
    answer = await pair.here.execute(
        ResizeVolumeCommand(path=VOLUME_UUID, pool=FILER, new_size=2 * TEMPLATE_SIZE)
    )
    assert answer.result, answer.details
    assert answer.details == f"VM {VM} sees the new size at SCSI 0:0"
    assert virtual_size(pair.pool / FILE) == 2 * TEMPLATE_SIZE


async def test_create_object_command_takes_a_snapshot_where_the_vm_runs(pair: Pair) -> None:
    """CloudStack sends it to any host of the pool."""
    make_disk(pair.pool / FILE)
    guid = await pair.there.define_vm(VM, PATH, running=True, ours=True, scsi=True)
    wanted = SnapshotObjectTO(
        id=41, volume=volume(path=VOLUME_UUID, data_store=STORE), data_store=STORE, vm_name=VM
    )
    answer = await pair.here.execute(CreateObjectCommand(data=wanted))
    assert answer.result, answer.details
    (made,) = (pair.pool / "snapshots").iterdir()
    assert await equal_disks(pair.pool / FILE, made)
    assert await list_checkpoints(pair.there.cim, guid, VM) == ()
    assert [attachment.path for attachment in await list_attachments(pair.there.cim)] == [PATH]


async def test_a_host_that_does_not_answer_is_passed_over(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_disk(pair.pool / FILE)
    await pair.there.emulation.server.stop(grace_s=0.1)
    command = DeleteCommand(data=volume(path=VOLUME_UUID, data_store=STORE))
    answer = await pair.here.execute(command)
    assert answer.result, answer.details
