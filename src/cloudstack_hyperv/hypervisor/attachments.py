r"""Which VM has which disk: before a file is deleted, moved or resized, this is asked.

The settings of every attached image are Msvm_StorageAllocationSettingData rows; one query gives
those of all VMs, and of checkpoints, which hold their disks as much as VMs do.  After a checkpoint
the attached file is an `.avhdx` and ours is its ancestor, so whoever asks must also look at the
parents of attached files (`resource.disk_safety`).

Instance ids: `Microsoft:<VM or checkpoint GUID>\<controller>\<slot>\<lun>\L` for the image.
Source: Microsoft, "Msvm_StorageAllocationSettingData".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cloudstack_hyperv.cim.constants import ResourceSubType
from cloudstack_hyperv.hypervisor.errors import translated
from cloudstack_hyperv.wsman.api import CimClient
from cloudstack_hyperv.wsman.protocol.wql import Select, equals

_INSTANCE: Final = re.compile(r"Microsoft:(?P<guid>[0-9A-Fa-f-]{36})\\")


@dataclass(frozen=True, slots=True)
class Attachment:
    """One disk image in a drive of a VM or checkpoint."""

    path: str
    """Windows path as the host has it."""
    machine_guid: str
    """GUID of the VM, or of the checkpoint, that has it; "" for a row that does not say."""
    instance_id: str
    """InstanceID of the image's settings."""


async def list_attachments(client: CimClient) -> tuple[Attachment, ...]:
    """Read all attached disk images of the host, those of checkpoints too: one round trip."""
    with translated("list attached disks"):
        rows = await client.query(
            Select(
                "Msvm_StorageAllocationSettingData",
                where=equals("ResourceSubType", ResourceSubType.VIRTUAL_HARD_DISK.value),
                properties=("InstanceID", "HostResource"),
            )
        )
    found: list[Attachment] = []
    for row in rows:
        identity = row.string("InstanceID") or ""
        match = _INSTANCE.match(identity)
        found.extend(
            Attachment(path, match["guid"].upper() if match else "", identity)
            for path in row.strings("HostResource")
            if path
        )
    return tuple(found)
