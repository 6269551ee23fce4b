r"""The MAC address of every VM's NIC on the host: one query.

InstanceID is `Microsoft:<VM GUID>\<NIC GUID>`; default templates say `Microsoft:Definition\...` and
are left out, checkpoints carry their own GUID and match no VM.  Source: Microsoft,
"Msvm_SyntheticEthernetPortSettingData" (Address without separators).
"""

from __future__ import annotations

import re
from typing import Final

from cloudstack_hyperv.hypervisor.errors import translated
from cloudstack_hyperv.wsman.api import CimClient
from cloudstack_hyperv.wsman.protocol.wql import Select

_INSTANCE: Final = re.compile(
    r"Microsoft:(?P<vm>[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12})\\\{?(?P<nic>[0-9A-F-]{36})\}?",
    re.IGNORECASE,
)
_MAC: Final = re.compile(r"[0-9A-F]{12}", re.IGNORECASE)


async def read_nic_addresses(client: CimClient) -> dict[tuple[str, str], str]:
    """Return MAC addresses (lower case with colons) by (VM GUID, NIC GUID), upper case."""
    with translated("read the VMs' MAC addresses"):
        rows = await client.query(
            Select("Msvm_SyntheticEthernetPortSettingData", properties=("InstanceID", "Address"))
        )
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        match = _INSTANCE.fullmatch(row.string("InstanceID") or "")
        mac = re.sub(r"[-:]", "", row.string("Address") or "")
        if match is not None and _MAC.fullmatch(mac):
            pairs = (mac[start : start + 2] for start in range(0, 12, 2))
            found[match["vm"].upper(), match["nic"].upper()] = ":".join(pairs).lower()
    return found
