"""Associations of the host and its network: services, machines, processors, and who is plugged in.

Sources: Microsoft's pages of the association classes; the walk from a physical port over two LAN
endpoints to a switch port is that of CloudStack's WmiCallsV2.cs.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import NAMESPACE_CIMV2
from cloudstack_hyperv.emulator.cim.provider import Row
from cloudstack_hyperv.emulator.host.associations import (
    device_reference,
    named_reference,
    pair,
)
from cloudstack_hyperv.emulator.host.inventory import Inventory
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.services import Services
from cloudstack_hyperv.emulator.host.serving import ClassTable
from cloudstack_hyperv.emulator.host.site import Site, machine_reference
from cloudstack_hyperv.emulator.host.switch_rows import (
    EXTERNAL_PORT,
    INTERNAL_PORT,
    SwitchRows,
    device_endpoint,
    switch_endpoint,
)

Pairs = Iterator[Row]


class HostAssociations:
    """Association rows about the host itself and its cables."""

    def __init__(
        self,
        site: Site,
        machines: Machines,
        network: SwitchRows,
        services: Services,
        inventory: Inventory,
    ) -> None:
        self._site = site
        self._machines = machines
        self._network = network
        self._services = services
        self._inventory = inventory

    def register(self, table: ClassTable) -> None:
        """Put the classes into the host's table."""
        table.serve("Msvm_EthernetDeviceSAPImplementation", self.host_endpoints)
        table.serve("Msvm_DeviceSAPImplementation", self.machine_endpoints)
        table.serve("Msvm_ActiveConnection", self.cables)
        table.serve("Msvm_HostedService", self.hosted_services)
        table.serve("Msvm_HostedDependency", self.hosted_machines)
        table.serve(
            "Win32_ComputerSystemProcessor", self.host_processors, namespace=NAMESPACE_CIMV2
        )

    # Cables --------------------------------------------------------------------------------

    def host_endpoints(self) -> Pairs:
        """Yield ports of switches and of the host with their endpoints."""
        for cable, port in self._network.cables_with_ports():
            yield pair(
                "Msvm_EthernetDeviceSAPImplementation",
                Antecedent=device_reference(port),
                Dependent=named_reference(switch_endpoint(cable)),
            )
            if cable.device.class_name in (EXTERNAL_PORT, INTERNAL_PORT):
                yield pair(
                    "Msvm_EthernetDeviceSAPImplementation",
                    Antecedent=device_reference(cable.device),
                    Dependent=named_reference(device_endpoint(cable)),
                )

    def machine_endpoints(self) -> Pairs:
        """Yield machines' adapters with their endpoints."""
        for cable in self._network.cables():
            if cable.device.class_name not in (EXTERNAL_PORT, INTERNAL_PORT):
                yield pair(
                    "Msvm_DeviceSAPImplementation",
                    Antecedent=device_reference(cable.device),
                    Dependent=named_reference(device_endpoint(cable)),
                )

    def cables(self) -> Pairs:
        """Yield the two endpoints of each cable."""
        for cable in self._network.cables():
            yield pair(
                "Msvm_ActiveConnection",
                Antecedent=named_reference(device_endpoint(cable)),
                Dependent=named_reference(switch_endpoint(cable)),
                TrafficType=0,
                IsUnidirectional=False,
            )

    # The host ------------------------------------------------------------------------------

    def hosted_services(self) -> Pairs:
        """Yield the host with its services."""
        for class_name in self._services.names:
            yield pair(
                "Msvm_HostedService",
                Antecedent=machine_reference(self._site.name),
                Dependent=named_reference(self._services.row(class_name)),
            )

    def hosted_machines(self) -> Pairs:
        """Yield the host with its machines."""
        for machine in self._machines:
            yield pair(
                "Msvm_HostedDependency",
                Antecedent=machine_reference(self._site.name),
                Dependent=machine_reference(machine.machine_id),
            )

    def host_processors(self) -> Pairs:
        """Yield the Windows system with its processors."""
        system = ObjectPath("Win32_ComputerSystem", (("Name", self._site.name),), NAMESPACE_CIMV2)
        for row in self._inventory.processors():
            processor = ObjectPath(
                "Win32_Processor", (("DeviceID", str(row.values["DeviceID"])),), NAMESPACE_CIMV2
            )
            yield pair(
                "Win32_ComputerSystemProcessor", GroupComponent=system, PartComponent=processor
            )
