"""The speed of the host's processors, by which a VM's CPU limit in MHz becomes a share.

CloudStack limits a VM to the MHz of its offering; Hyper-V limits it to a share of its processors.
Source: Microsoft, "Win32_Processor" (MaxClockSpeed, MHz, one row a socket).
"""

from __future__ import annotations

from cloudstack_hyperv.cim.constants import NAMESPACE_CIMV2
from cloudstack_hyperv.hypervisor.errors import HypervisorError, translated
from cloudstack_hyperv.wsman.api import CimClient
from cloudstack_hyperv.wsman.protocol.wql import Select


async def read_processor_speed(client: CimClient) -> int:
    """Return the MHz of the slowest socket: one round trip."""
    with translated("read the processors' speed"):
        rows = await client.query(
            Select("Win32_Processor", properties=("MaxClockSpeed",)), namespace=NAMESPACE_CIMV2
        )
    speeds = [speed for row in rows if (speed := row.uint("MaxClockSpeed"))]
    if not speeds:
        raise HypervisorError("the host does not tell the speed of its processors")
    return min(speeds)
