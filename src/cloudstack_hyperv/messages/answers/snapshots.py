"""Answers about snapshots of whole VMs."""

import msgspec

from cloudstack_hyperv.messages.answer import Answer, answer
from cloudstack_hyperv.messages.enums import PowerState
from cloudstack_hyperv.messages.java import AGENT_API, STORAGE
from cloudstack_hyperv.messages.objects.pairs import Pair
from cloudstack_hyperv.messages.objects.storage import VolumeObjectTO
from cloudstack_hyperv.messages.objects.vm import VMSnapshotTO


@answer(AGENT_API)
class CreateVMSnapshotAnswer(Answer):
    """The snapshot is taken; the server records path, chain and size of each volume."""

    volume_tos: list[VolumeObjectTO] | None = msgspec.field(default=None, name="volumeTOs")
    vm_snapshot_to: VMSnapshotTO | None = None


@answer(AGENT_API)
class DeleteVMSnapshotAnswer(Answer):
    """The snapshot is merged, or was not there."""

    volume_tos: list[VolumeObjectTO] | None = msgspec.field(default=None, name="volumeTOs")


@answer(AGENT_API)
class RevertToVMSnapshotAnswer(Answer):
    """The VM is as it was at the snapshot."""

    volume_tos: list[VolumeObjectTO] | None = msgspec.field(default=None, name="volumeTOs")
    vm_state: PowerState | None = None


@answer(AGENT_API)
class RestoreVMSnapshotAnswer(RevertToVMSnapshotAnswer):
    """The definitions of snapshots are there again after a start (KVM)."""


@answer(STORAGE)
class CreateDiskOnlyVmSnapshotAnswer(Answer):
    """Disk-only snapshots were taken (KVM): size and new path by volume."""

    map_volume_to_snapshot_size_and_new_volume_path: dict[str, Pair[int, str]] | None = None


@answer(STORAGE)
class RevertDiskOnlyVmSnapshotAnswer(Answer):
    """Disk-only snapshots were gone back to (KVM)."""

    volume_object_tos: list[VolumeObjectTO] | None = None
