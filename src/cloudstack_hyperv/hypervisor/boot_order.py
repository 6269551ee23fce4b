r"""The boot order of a generation 2 VM, set only when it is not what it should be.

A boot source appears for each disk, DVD drive and NIC, in the order in which they were added, and
`BootSourceOrder` may only reorder what is there.  A source belongs to the device whose InstanceID
its own begins with; when a host names its sources otherwise the order is left as it is, which
with our order of adding is the wanted one.

Source: Microsoft, "Msvm_BootSourceSettingData", "Msvm_VirtualSystemSettingData" (BootSourceOrder).
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from cloudstack_hyperv.cim import MalformedPath, ObjectPath
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.errors import translated
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE, settings_path
from cloudstack_hyperv.wsman.api import CimClient

log = structlog.get_logger(__name__)


async def apply_boot_order(
    client: CimClient, guid: str, first: Sequence[ObjectPath], name: str
) -> None:
    """Let the VM boot from the devices in `first`, then from the rest: one or two round trips."""
    with translated(f"read the boot order of VM {name}"):
        row = await client.get(settings_path(guid))
    present = row.strings("BootSourceOrder")
    wanted = reordered(present, first)
    if wanted is None:
        log.warning("the host's boot sources show no device; boot order left alone", vm=name)
        return
    if wanted == present:
        return
    await call(
        client,
        MANAGEMENT_SERVICE,
        "ModifySystemSettings",
        {"SystemSettings": data.boot_order(row.require("InstanceID"), wanted)},
        what=f"set the boot order of VM {name}",
    )


def reordered(present: Sequence[str], first: Sequence[ObjectPath]) -> tuple[str, ...] | None:
    """Return the sources with those of `first` in front; None if no source shows a device."""
    ids = [(path.key("InstanceID") or "").casefold() for path in first]

    def rank(source: str) -> int:
        shown = _source_id(source)
        for number, device in enumerate(ids):
            if device and shown.startswith(device + "\\"):
                return number
        return len(ids)

    if present and all(rank(source) == len(ids) for source in present):
        return None
    return tuple(sorted(present, key=rank))


def _source_id(source: str) -> str:
    try:
        return (ObjectPath.parse(source).key("InstanceID") or "").casefold()
    except MalformedPath:
        return ""
