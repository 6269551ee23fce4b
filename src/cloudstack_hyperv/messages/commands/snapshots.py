"""Commands about snapshots of whole VMs."""

import msgspec

from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.snapshots import (
    CreateDiskOnlyVmSnapshotAnswer,
    CreateVMSnapshotAnswer,
    DeleteVMSnapshotAnswer,
    RestoreVMSnapshotAnswer,
    RevertDiskOnlyVmSnapshotAnswer,
    RevertToVMSnapshotAnswer,
)
from cloudstack_hyperv.messages.answers.storage import CreateVolumeFromVMSnapshotAnswer
from cloudstack_hyperv.messages.command import Command, command
from cloudstack_hyperv.messages.java import AGENT_API, STORAGE
from cloudstack_hyperv.messages.objects.storage import (
    DataTO,
    DiskProfile,
    SnapshotMergeTreeTO,
    SnapshotObjectTO,
    StorageFilerTO,
    VolumeObjectTO,
)
from cloudstack_hyperv.messages.objects.vm import VMSnapshotTO


@command(AGENT_API, answer=Answer)
class VMSnapshotBaseCommand(Command):
    """What all commands about VM snapshots carry: the snapshot and the VM's volumes."""

    vm_name: str | None = None
    volume_tos: list[VolumeObjectTO] | None = msgspec.field(default=None, name="volumeTOs")
    target: VMSnapshotTO | None = None
    guest_os_type: str | None = msgspec.field(default=None, name="guestOSType")
    platform_emulator: str | None = None


@command(AGENT_API, answer=CreateVMSnapshotAnswer)
class CreateVMSnapshotCommand(VMSnapshotBaseCommand, kw_only=True):
    """Take a snapshot of a VM."""

    vm_name: str
    target: VMSnapshotTO
    vm_uuid: str | None = None


@command(AGENT_API, answer=DeleteVMSnapshotAnswer)
class DeleteVMSnapshotCommand(VMSnapshotBaseCommand, kw_only=True):
    """Merge a snapshot away; one that is gone is a success."""

    vm_name: str
    target: VMSnapshotTO


@command(AGENT_API, answer=RevertToVMSnapshotAnswer)
class RevertToVMSnapshotCommand(VMSnapshotBaseCommand, kw_only=True):
    """Make a VM what it was at a snapshot."""

    vm_name: str
    target: VMSnapshotTO
    reload_vm: bool = False
    vm_uuid: str | None = None


@command(AGENT_API, answer=RestoreVMSnapshotAnswer)
class RestoreVMSnapshotCommand(VMSnapshotBaseCommand):
    """Define the snapshots again after a start (KVM)."""

    snapshots: list[VMSnapshotTO] | None = None
    snapshot_and_parents: dict[str, VMSnapshotTO] | None = None


@command(AGENT_API, answer=CreateVolumeFromVMSnapshotAnswer)
class CreateVolumeFromVMSnapshotCommand(Command):
    """Make a volume of a VM snapshot (older)."""

    path: str | None = None
    name: str | None = None
    full_clone: bool = False
    storage_pool_uuid: str | None = None
    pool: StorageFilerTO | None = None
    disk_profile: DiskProfile | None = None
    volume_id: int | None = None


@command(STORAGE, answer=CreateDiskOnlyVmSnapshotAnswer)
class CreateDiskOnlyVmSnapshotCommand(VMSnapshotBaseCommand):
    """Take disk-only snapshots of a VM's volumes (KVM)."""

    vm_state: str | None = None


@command(STORAGE, answer=Answer)
class DeleteDiskOnlyVmSnapshotCommand(Command):
    """Delete disk-only snapshots (KVM)."""

    snapshots: list[DataTO] | None = None


@command(STORAGE, answer=Answer)
class MergeDiskOnlyVmSnapshotCommand(Command):
    """Merge disk-only snapshots (KVM)."""

    snapshot_merge_tree_to_list: list[SnapshotMergeTreeTO] | None = None
    vm_state: str | None = None
    vm_name: str | None = None


@command(STORAGE, answer=RevertDiskOnlyVmSnapshotAnswer)
class RevertDiskOnlyVmSnapshotCommand(Command):
    """Go back to disk-only snapshots (KVM)."""

    snapshot_object_tos: list[SnapshotObjectTO] | None = None
    vm_name: str | None = None


@command(AGENT_API, answer=Answer)
class RecreateCheckpointsCommand(Command):
    """Define the checkpoints of incremental snapshots again (KVM)."""

    volumes: list[VolumeObjectTO] | None = None
    vm_name: str | None = None


@command(AGENT_API, answer=Answer)
class RemoveBitmapCommand(Command):
    """Remove the bitmap of an incremental snapshot (KVM)."""

    snapshot_object: SnapshotObjectTO | None = msgspec.field(default=None, name="snapshotObjectTO")
    is_vm_running: bool = False
