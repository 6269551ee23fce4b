"""Answers about moving a VM together with its disks, and about work found after a reconnect."""

from cloudstack_hyperv.messages.answer import Answer, answer
from cloudstack_hyperv.messages.java import AGENT_API, RECONCILE
from cloudstack_hyperv.messages.json_text import Json
from cloudstack_hyperv.messages.objects.pairs import Pair
from cloudstack_hyperv.messages.objects.storage import (
    VolumeObjectTO,
    VolumeOnStorageTO,
    VolumeTO,
)
from cloudstack_hyperv.messages.objects.vm import NicTO


@answer(AGENT_API)
class MigrateWithStorageAnswer(Answer):
    """VM and disks are on the other host; the server matches by `id` and stores `path`."""

    volume_tos: list[VolumeObjectTO] | None = None


@answer(AGENT_API)
class MigrateVmToPoolAnswer(MigrateWithStorageAnswer):
    """All volumes of a VM lie in another pool (VMware)."""


@answer(AGENT_API)
class MigrateWithStorageCompleteAnswer(MigrateWithStorageAnswer):
    """Last step of a migration in three steps (XenServer)."""


@answer(AGENT_API)
class MigrateWithStorageReceiveAnswer(Answer):
    """First step of a migration in three steps (XenServer): the destination is prepared."""

    volume_to_sr: list[Pair[VolumeTO, Json]] | None = None
    nic_to_network: list[Pair[NicTO, Json]] | None = None
    token: dict[str, str] | None = None


@answer(AGENT_API)
class MigrateWithStorageSendAnswer(Answer):
    """Second step of a migration in three steps (XenServer)."""

    volume_to_set: list[VolumeTO] | None = None


@answer(RECONCILE)
class ReconcileAnswer(Answer):
    """What became of a command whose answer was lost."""

    resource_type: str | None = None
    resource_id: int | None = None


@answer(RECONCILE)
class ReconcileVolumeAnswer(ReconcileAnswer):
    """What became of a volume."""

    volume_on_source: VolumeOnStorageTO | None = None
    volume_on_destination: VolumeOnStorageTO | None = None


@answer(RECONCILE)
class ReconcileCopyAnswer(ReconcileVolumeAnswer):
    """What became of a copy."""

    is_skipped: bool = False
    reason: str | None = None


@answer(RECONCILE)
class ReconcileMigrateAnswer(ReconcileAnswer):
    """What became of a migration."""

    host_id: int | None = None
    vm_name: str | None = None
    vm_state: str | None = None
    vm_disks: list[str] | None = None


@answer(RECONCILE)
class ReconcileMigrateVolumeAnswer(ReconcileVolumeAnswer):
    """What became of the migration of a volume."""

    vm_name: str | None = None
    vm_disk_paths: list[str] | None = None
