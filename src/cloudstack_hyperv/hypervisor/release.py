"""What a release of Windows knows, decided from its build number.

Hyper-V fails a call that names a property it does not know, so a property that came later is only
sent to releases that have it.  The build number is the one thing that every release tells, and in
one round trip.  Sources: Microsoft's list of Windows Server releases; class dumps of 2019 and
later for the properties (go-wsman test data); os-win `vmutils10` for what 2016 added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloudstack_hyperv.cim.constants import NAMESPACE_CIMV2
from cloudstack_hyperv.hypervisor.errors import HypervisorError, translated
from cloudstack_hyperv.wsman.api import CimClient
from cloudstack_hyperv.wsman.protocol.wql import Select

SERVER_2012: Final = 9200
SERVER_2012_R2: Final = 9600
SERVER_2016: Final = 14393
SERVER_2019: Final = 17763


@dataclass(frozen=True, slots=True)
class Release:
    """A release of Windows by its build number."""

    build: int

    @property
    def has_generation_2(self) -> bool:
        """Whether VirtualSystemSubType exists."""
        return self.build >= SERVER_2012_R2

    @property
    def has_secure_boot_templates(self) -> bool:
        """Whether secure boot can trust what signs Linux boot loaders."""
        return self.build >= SERVER_2016

    @property
    def has_nested_virtualization(self) -> bool:
        """Whether ExposeVirtualizationExtensions exists."""
        return self.build >= SERVER_2016

    @property
    def has_disk_limits(self) -> bool:
        """Whether a disk's IOPSLimit exists."""
        return self.build >= SERVER_2012_R2

    @property
    def has_port_rules(self) -> bool:
        """Whether a switch port takes extended ACLs: rules with ports and flows."""
        return self.build >= SERVER_2012_R2

    @property
    def has_production_checkpoints(self) -> bool:
        """Whether UserSnapshotType exists: a checkpoint can be made by the guest's own freezing."""
        return self.build >= SERVER_2016

    @property
    def has_hot_memory(self) -> bool:
        """Whether static memory of a running VM can be changed."""
        return self.build >= SERVER_2016

    @property
    def has_hot_adapters(self) -> bool:
        """Whether a running generation 2 VM can get and lose NICs."""
        return self.build >= SERVER_2016

    @property
    def has_guest_reboot(self) -> bool:
        """Whether Msvm_ShutdownComponent has InitiateReboot."""
        return self.build >= SERVER_2016

    @property
    def has_automatic_checkpoints(self) -> bool:
        """Whether AutomaticSnapshotsEnabled exists."""
        return self.build >= SERVER_2019

    @property
    def most_adapters(self) -> int:
        """Synthetic NICs that a VM of this release's own configuration version can have."""
        return 64 if self.build >= SERVER_2019 else 8


async def read_release(client: CimClient) -> Release:
    """Ask the host for its build number."""
    with translated("read the Windows build"):
        rows = await client.query(
            Select("Win32_OperatingSystem", properties=("BuildNumber",)),
            namespace=NAMESPACE_CIMV2,
        )
        build = rows[0].uint("BuildNumber") if rows else None
    if build is None:
        raise HypervisorError("the host does not tell its Windows build")
    return Release(build)
