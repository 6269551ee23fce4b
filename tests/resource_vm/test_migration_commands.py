"""VMs and volumes between two hosts of a domain, over real sockets, with real disks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.emulation import QUICK
from tests.emulator_migration.fleet_doors import FleetDoors, running_fleet
from tests.resource_vm.commands import NAME, nic, start_command, virtual_machine

from cloudstack_hyperv.cim import Uint16
from cloudstack_hyperv.config import (
    HostSettings,
    MountSettings,
    Settings,
    StorageSettings,
    WinrmSettings,
)
from cloudstack_hyperv.emulator.door.calls import AnswerCode, Call, DropConnection, Verdict
from cloudstack_hyperv.emulator.host import HostConfig, JobMode
from cloudstack_hyperv.emulator.host.migration_move import Stage as Point
from cloudstack_hyperv.emulator.host.outcome import JobFailed
from cloudstack_hyperv.hypervisor.adapters import read_adapters
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.hypervisor.migration import MIGRATION_SERVICE
from cloudstack_hyperv.messages import Answer, Command, decode_command, encode_command
from cloudstack_hyperv.messages.answers.migration import MigrateWithStorageAnswer
from cloudstack_hyperv.messages.answers.storage import MigrateVolumeAnswer
from cloudstack_hyperv.messages.commands.migration import (
    MigrateCommand,
    MigrateVolumeCommand,
    MigrateWithStorageCommand,
    PrepareForMigrationCommand,
)
from cloudstack_hyperv.messages.commands.snapshots import (
    CreateVMSnapshotCommand,
    RevertToVMSnapshotCommand,
)
from cloudstack_hyperv.messages.commands.vm import CheckVirtualMachineCommand, StopCommand
from cloudstack_hyperv.messages.objects.pairs import Pair
from cloudstack_hyperv.messages.objects.storage import (
    PrimaryDataStoreTO,
    StorageFilerTO,
    VolumeObjectTO,
    VolumeTO,
)
from cloudstack_hyperv.messages.objects.vm import DiskTO, VirtualMachineTO, VMSnapshotTO
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.known_machines import machine_directory
from cloudstack_hyperv.resource.known_switches import known_switches
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.storage.folder_files import FolderFiles
from cloudstack_hyperv.wsman.api import Argument, EmbeddedInstance

ADDRESSES = ("192.0.2.10", "192.0.2.11")
SHARED = r"\\FILESERVER\vms"
LOCAL = r"C:\pool"
TEXT = b"what was written before"
SHARED_POOL = StorageFilerTO(uuid="shared", type="SMB", host="FILESERVER", path="/vms")
LOCAL_POOL = StorageFilerTO(uuid="local", type="Filesystem", host=ADDRESSES[0], path=LOCAL)


def disk(stem: str, pool: StorageFilerTO, kind: str = "ROOT", sequence: int = 0) -> DiskTO:
    store = PrimaryDataStoreTO(uuid=pool.uuid, pool_type=pool.type, host=pool.host, path=pool.path)
    data = VolumeObjectTO(uuid=stem, path=stem, format="VHDX", data_store=store)
    return DiskTO(data=data, disk_seq=sequence, path=stem, type=kind)


def machine_of(pool: StorageFilerTO, **changes: Any) -> VirtualMachineTO:
    return virtual_machine(disks=[disk("root", pool)], nics=[nic(0, "vlan://261")], **changes)


@dataclass(slots=True)
class Site:
    """Two hosts and the agent that serves them."""

    doors: FleetDoors
    agents: list[Resource]

    async def send(self, index: int, command: Command) -> Answer:
        decoded = decode_command(type(command).java_class, encode_command(command))
        return await self.agents[index].execute(decoded)

    async def done(self, index: int, command: Command) -> Answer:
        answer = await self.send(index, command)
        assert answer.result, answer.details
        return answer

    async def refused(self, index: int, command: Command) -> str:
        answer = await self.send(index, command)
        assert not answer.result
        return answer.details or ""

    async def machines(self, index: int) -> list[Machine]:
        return list(await machine_directory(self.agents[index].context).list_all())

    async def start(self, pool: StorageFilerTO = SHARED_POOL) -> Machine:
        folder = SHARED if pool is SHARED_POOL else LOCAL
        self.doors.make_disk(0, f"{folder}\\root.vhdx", TEXT)
        vm = machine_of(pool)
        await self.done(0, start_command(disks=vm.disks, nics=vm.nics))
        [machine] = await self.machines(0)
        return machine

    async def still_runs_on_the_source(self) -> None:
        assert [m.state for m in await self.machines(0)] == [2]
        assert await self.machines(1) == []

    def text(self, index: int, path: str) -> bytes:
        return self.doors.text_in(index, path, len(TEXT))


@asynccontextmanager
async def running_site(
    folder: Path, *, shared: str = SHARED, configuration: str | None = None, **options: Any
) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        doors = await stack.enter_async_context(running_fleet(folder, **options))
        settings = []
        for index, address in enumerate(ADDRESSES):
            winrm = WinrmSettings(
                address="127.0.0.1", port=doors.port(index), transport="http", user="x"
            )
            mounts = (
                MountSettings(host_path="C:\\", folder=str(doors.file(index, "C:\\"))),
                MountSettings(host_path=shared, folder=str(doors.file(index, shared))),
            )
            for mount in mounts:
                Path(mount.folder).mkdir(parents=True, exist_ok=True)
            settings.append(
                HostSettings(
                    name=f"hv{index + 1}",
                    winrm=winrm,
                    private_address=address,
                    mounts=mounts,
                    local_pool=LOCAL,
                    configuration_root=configuration,
                    emulated=True,
                )
            )
        every = Settings(hosts=tuple(settings), storage=StorageSettings())
        peers: dict[str, HostContext] = {}
        agents = []
        for index, host in enumerate(settings):
            client = doors.client(index)
            stack.push_async_callback(client.close)
            context = HostContext(every, host, client, FolderFiles(host.mounts), peers=peers)
            peers[ADDRESSES[index]] = context
            agents.append(Resource(context))
        yield Site(doors, agents)


def template(folder: Path, **timings: float) -> HostConfig:
    """A host that starts a job where it may: a bare return value carries no words."""
    return HostConfig(folder, timings=replace(QUICK, **timings), job_mode=JobMode.ALWAYS_4096)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_site(tmp_path, template=template(tmp_path)) as site:
        yield site


def prepare(**changes: Any) -> PrepareForMigrationCommand:
    return PrepareForMigrationCommand(vm=machine_of(SHARED_POOL, **changes))


def migrate(**changes: Any) -> MigrateCommand:
    fields: dict[str, Any] = {
        "vm_name": NAME,
        "destination_ip": ADDRESSES[1],
        "virtual_machine": machine_of(SHARED_POOL),
        **changes,
    }
    return MigrateCommand(**fields)


async def test_migrate_command_moves_a_running_vm(site: Site) -> None:
    before = await site.start()
    await site.done(1, prepare())
    await site.done(0, migrate())
    assert await site.machines(0) == []
    [machine] = await site.machines(1)
    assert (machine.guid, machine.state, machine.ownership) == (before.guid, 2, before.ownership)
    answer = await site.done(1, CheckVirtualMachineCommand(vm_name=NAME))
    assert getattr(answer, "state", None) == "PowerOn"
    assert await site.agents[0].vm_state_report() == {}
    assert await site.agents[1].vm_state_report() == {NAME: "PowerOn"}
    await site.done(0, StopCommand(vm_name=NAME))  # of what the source may have left
    assert len(await site.machines(1)) == 1
    await site.done(1, StopCommand(vm_name=NAME, force_stop=True))
    assert site.text(1, f"{SHARED}\\root.vhdx") == TEXT


async def test_migrate_command_again_finds_the_vm_there(site: Site) -> None:
    await site.start()
    await site.done(0, migrate())
    await site.done(0, migrate())
    assert len(await site.machines(1)) == 1


async def test_migrate_command_in_the_spelling_of_4_20(site: Site) -> None:
    await site.start()
    body = {"vmName": NAME, "destIp": ADDRESSES[1], "isWindows": False, "wait": 60}
    command = decode_command("com.cloud.agent.api.MigrateCommand", body)
    answer = await site.agents[0].execute(command)
    assert answer.result, answer.details
    assert len(await site.machines(1)) == 1


async def test_migrate_command_back_and_forth(site: Site) -> None:
    await site.start()
    for index in (0, 1, 0):
        await site.done(index, migrate(destination_ip=ADDRESSES[1 - index]))
        assert await site.machines(index) == []
        assert [m.state for m in await site.machines(1 - index)] == [2]


async def test_migrate_command_takes_snapshots_along(site: Site) -> None:
    await site.start()
    fields: dict[str, Any] = {
        "vm_name": NAME,
        "target": VMSnapshotTO(snapshot_name="first", type="DiskAndMemory"),
        "volume_tos": [disk("root", SHARED_POOL).data],
    }
    await site.done(0, CreateVMSnapshotCommand(**fields))
    await site.done(0, migrate())
    await site.done(1, RevertToVMSnapshotCommand(**fields))
    assert [m.state for m in await site.machines(1)] == [2]


@pytest.mark.parametrize("point", [point for point in Point if point is not Point.COPY])
async def test_migrate_command_that_fails_anywhere_leaves_the_vm_on_the_source(
    site: Site, point: Point
) -> None:
    await site.start()
    hooks = site.doors.fleet.hosts[0].migration.hooks
    hooks.faults[point] = JobFailed(32768, f"it broke at {point}", 0x80004005)
    assert f"it broke at {point}" in await site.refused(0, migrate())
    await site.still_runs_on_the_source()
    await site.done(1, PrepareForMigrationCommand(vm=machine_of(SHARED_POOL), rollback=True))
    await site.done(0, migrate())


async def test_migrate_command_whose_job_goes_with_the_vm(site: Site) -> None:
    await site.start()
    site.doors.fleet.hosts[0].migration.hooks.job_vanishes = True
    await site.done(0, migrate())
    assert len(await site.machines(1)) == 1


async def test_migrate_command_whose_answer_is_lost(site: Site) -> None:
    await site.start()

    def lose(call: Call) -> Verdict | None:
        lost = call.method == "MigrateVirtualSystemToHost"
        return DropConnection(after_effect=True) if lost else None

    site.doors.servers[0].calls.intercept(lose)
    await site.done(0, migrate())
    assert len(await site.machines(1)) == 1


async def test_migrate_command_at_its_deadline_leaves_the_vm_on_the_source(
    tmp_path: Path,
) -> None:
    async with running_site(tmp_path, template=template(tmp_path, migrate=30.0)) as site:
        await site.start()
        details = await site.refused(0, migrate(wait=2))
        assert "in time" in details
        await asyncio.sleep(0.1)
        await site.still_runs_on_the_source()


@pytest.mark.parametrize("bare", [False, True], ids=["job", "bare return value"])
async def test_migrate_command_without_delegation_says_what_to_set_up(
    tmp_path: Path, bare: bool
) -> None:
    async with running_site(tmp_path, template=template(tmp_path), delegate=False) as site:
        await site.start()

        def answer(call: Call) -> Verdict | None:
            return AnswerCode(32768) if call.method == "MigrateVirtualSystemToHost" else None

        if bare:
            site.doors.servers[0].calls.intercept(answer)
        details = await site.refused(0, migrate())
        assert "8009030E" in details.upper()
        assert "Microsoft Virtual System Migration Service" in details
        assert "CredSSP" in details
        await site.still_runs_on_the_source()


async def test_migrate_command_finds_switches_by_the_label_of_the_destination(site: Site) -> None:
    """The source's switch was called otherwise than the one that the label means there."""
    await site.start()
    wanted = machine_of(SHARED_POOL)
    wanted.nics = [nic(0, "vlan://261", name="Internal")]
    await site.done(0, migrate(virtual_machine=wanted))
    context = site.agents[1].context
    [machine] = await site.machines(1)
    [state] = await read_adapters(context.cim, machine)
    assert state.adapter.connection is not None
    internal = next(s for s in await known_switches(context) if s.name == "Internal")
    assert internal.guid.upper() in (state.adapter.connection.switch or "").upper()
    assert (state.vlan, state.connected) == (261, True)


async def test_migrate_command_to_an_older_host_is_refused(tmp_path: Path) -> None:
    """The configuration version of the VM is newer than the destination knows."""
    async with running_site(tmp_path, template=template(tmp_path), older="2016") as site:
        await site.start()
        assert "version" in (await site.refused(0, migrate())).lower()
        await site.still_runs_on_the_source()


async def test_a_planned_vm_of_an_incoming_migration_is_not_reported(site: Site) -> None:
    machine = await site.start()
    settings = EmbeddedInstance(
        "Msvm_VirtualSystemMigrationSettingData", {"MigrationType": Uint16(32770)}
    )
    context = site.agents[0].context
    arguments: dict[str, Argument] = {
        "ComputerSystem": machine.path,
        "DestinationHost": "HYPERV2",
        "MigrationSettingData": settings,
    }
    await call(
        context.cim, MIGRATION_SERVICE, "MigrateVirtualSystemToHost", arguments, what="announce"
    )
    planned = await site.agents[1].context.cim.enumerate("Msvm_PlannedComputerSystem")
    assert [row.string("Name") for row in planned] == [machine.guid]
    assert await site.agents[1].vm_state_report() == {}
    assert await site.agents[0].vm_state_report() == {NAME: "PowerOn"}


async def test_migrate_command_refuses_a_vm_that_does_not_run(site: Site) -> None:
    assert "no VM" in await site.refused(0, migrate())
    await site.start()
    await site.done(0, StopCommand(vm_name=NAME, force_stop=True))
    assert "no VM" in await site.refused(0, migrate())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nics": [nic(0, name="nowhere")]}, "nowhere"),
        ({"disks": [disk("missing", SHARED_POOL)]}, "missing"),
        ({"disks": [disk("root", LOCAL_POOL)]}, "root"),
    ],
)
async def test_prepare_for_migration_command_refuses(
    site: Site, changes: dict[str, Any], reason: str
) -> None:
    await site.start()
    fields = {"disks": [disk("root", SHARED_POOL)], "nics": [nic(0)], **changes}
    command = PrepareForMigrationCommand(vm=virtual_machine(**fields))
    assert reason in await site.refused(1, command)


async def test_prepare_for_migration_command_refuses_a_vm_that_is_there(site: Site) -> None:
    await site.start()
    assert "this one" in await site.refused(0, prepare())
    other = prepare(uuid="00000000-0000-440a-8cc5-45d08815ca11")
    assert "another one" in await site.refused(0, other)


async def test_migrate_with_storage_command_takes_the_disks_along(site: Site) -> None:
    before = await site.start(LOCAL_POOL)
    Path(site.doors.file(1, LOCAL)).mkdir(parents=True, exist_ok=True)
    command = MigrateWithStorageCommand(
        vm=machine_of(LOCAL_POOL),
        tgt_host=ADDRESSES[1],
        volume_to_filer_as_list=[Pair(VolumeTO(id=7, path="root"), LOCAL_POOL)],
    )
    answer = await site.done(0, command)
    assert isinstance(answer, MigrateWithStorageAnswer)
    assert [(v.id, v.path) for v in answer.volume_tos or ()] == [(7, "root")]
    assert [m.guid for m in await site.machines(1)] == [before.guid]
    assert await site.machines(0) == []
    assert site.text(1, f"{LOCAL}\\root.vhdx") == TEXT
    assert not Path(site.doors.file(0, f"{LOCAL}\\root.vhdx")).exists()
    again = await site.done(0, command)
    assert isinstance(again, MigrateWithStorageAnswer)
    assert [(v.id, v.path) for v in again.volume_tos or ()] == [(7, "root")]


@pytest.mark.parametrize("point", [Point.COPY, Point.HAND_OVER, Point.ARRIVE])
async def test_migrate_with_storage_command_that_fails_leaves_disks_and_vm(
    site: Site, point: Point
) -> None:
    await site.start(LOCAL_POOL)
    Path(site.doors.file(1, LOCAL)).mkdir(parents=True, exist_ok=True)
    hooks = site.doors.fleet.hosts[0].migration.hooks
    hooks.faults[point] = JobFailed(32768, f"it broke at {point}", 0x80004005)
    command = MigrateWithStorageCommand(
        vm=machine_of(LOCAL_POOL),
        tgt_host=ADDRESSES[1],
        volume_to_filer_as_list=[Pair(VolumeTO(id=7, path="root"), LOCAL_POOL)],
    )
    assert f"it broke at {point}" in await site.refused(0, command)
    await site.still_runs_on_the_source()
    assert site.text(0, f"{LOCAL}\\root.vhdx") == TEXT
    assert not Path(site.doors.file(1, f"{LOCAL}\\root.vhdx")).exists()


def move_volume(**changes: Any) -> MigrateVolumeCommand:
    fields: dict[str, Any] = {
        "volume_id": 7,
        "volume_path": "root",
        "pool": SHARED_POOL,
        "source_pool": LOCAL_POOL,
        "attached_vm_name": NAME,
        **changes,
    }
    return MigrateVolumeCommand(**fields)


async def test_migrate_volume_command_moves_a_disk_under_a_running_vm(site: Site) -> None:
    before = await site.start(LOCAL_POOL)
    answer = await site.done(0, move_volume())
    assert isinstance(answer, MigrateVolumeAnswer)
    assert answer.volume_path == "root"
    assert [(m.guid, m.state) for m in await site.machines(0)] == [(before.guid, 2)]
    assert site.text(0, f"{SHARED}\\root.vhdx") == TEXT
    assert not Path(site.doors.file(0, f"{LOCAL}\\root.vhdx")).exists()
    await site.done(0, move_volume())
    assert "does not have it" in await site.refused(0, move_volume(volume_path="other"))


async def test_migrate_volume_command_moves_a_volume_at_rest(site: Site) -> None:
    site.doors.make_disk(0, f"{LOCAL}\\root.vhdx", TEXT)
    await site.done(0, move_volume(attached_vm_name=None))
    assert site.text(0, f"{SHARED}\\root.vhdx") == TEXT
    assert not Path(site.doors.file(0, f"{LOCAL}\\root.vhdx")).exists()
    await site.done(0, move_volume(attached_vm_name=None))


async def test_migration_of_storage_needs_a_vm_without_snapshots(site: Site) -> None:
    await site.start(LOCAL_POOL)
    snapshot = CreateVMSnapshotCommand(
        vm_name=NAME, target=VMSnapshotTO(snapshot_name="first", type="DiskAndMemory")
    )
    await site.done(0, snapshot)
    assert "VM snapshots" in await site.refused(0, move_volume())
    command = MigrateWithStorageCommand(vm=machine_of(LOCAL_POOL), tgt_host=ADDRESSES[1])
    assert "VM snapshots" in await site.refused(0, command)
    await site.still_runs_on_the_source()
