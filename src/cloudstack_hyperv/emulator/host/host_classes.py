"""Classes of the host itself: services, switches, Windows' own inventory, counters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from cloudstack_hyperv.cim.constants import NAMESPACE_CIMV2, NAMESPACE_STANDARDCIMV2
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply
from cloudstack_hyperv.emulator.host.adapters import Adapters
from cloudstack_hyperv.emulator.host.inventory import Inventory
from cloudstack_hyperv.emulator.host.performance import Performance
from cloudstack_hyperv.emulator.host.services import Services
from cloudstack_hyperv.emulator.host.serving import ClassTable, Handler, RowSource
from cloudstack_hyperv.emulator.host.switch_rows import (
    EMULATED_PORT,
    ENDPOINT,
    EXTERNAL_PORT,
    INTERNAL_PORT,
    PORT,
    SYNTHETIC_PORT,
    SwitchRows,
)
from cloudstack_hyperv.emulator.host.switches import SWITCH, SWITCH_SETTINGS

Reply = MethodReply | Awaitable[MethodReply]


class HostClasses:
    """Registers what the host shows of itself."""

    def __init__(
        self,
        services: Services,
        network: SwitchRows,
        inventory: Inventory,
        adapters: Adapters,
        performance: Performance,
    ) -> None:
        self._services = services
        self._network = network
        self._inventory = inventory
        self._adapters = adapters
        self._performance = performance

    def register(self, table: ClassTable, service_methods: dict[str, dict[str, Handler]]) -> None:
        """Put the classes into the host's table; `service_methods` by service class."""
        for class_name in self._services.names:
            table.serve(
                class_name,
                self._service(class_name),
                methods=service_methods.get(class_name, {}),
            )
        services = self._services
        table.serve(
            "Msvm_VirtualSystemManagementServiceSettingData", lambda: (services.management,)
        )
        table.serve("Msvm_VirtualSystemMigrationServiceSettingData", lambda: (services.migration,))
        table.serve("Msvm_MetricServiceSettingData", lambda: (services.metrics,))
        table.serve("Msvm_TerminalServiceSettingData", lambda: (services.terminal,))
        self._register_network(table)
        self._register_windows(table)
        self._register_counters(table)

    def _service(self, class_name: str) -> RowSource:
        return lambda: (self._services.row(class_name),)

    def _register_network(self, table: ClassTable) -> None:
        network = self._network
        table.serve(SWITCH, network.switches)
        table.serve(SWITCH_SETTINGS, network.settings)
        table.serve(PORT, network.ports)
        table.serve(ENDPOINT, network.endpoints)
        table.serve(EXTERNAL_PORT, network.external_ports)
        table.serve(INTERNAL_PORT, network.internal_ports)
        table.serve(SYNTHETIC_PORT, lambda: network.machine_ports(SYNTHETIC_PORT))
        table.serve(EMULATED_PORT, lambda: network.machine_ports(EMULATED_PORT))

    def _register_windows(self, table: ClassTable) -> None:
        inventory, adapters = self._inventory, self._adapters
        sources: dict[str, RowSource] = {
            "Win32_OperatingSystem": inventory.operating_system,
            "Win32_ComputerSystem": inventory.computer_system,
            "Win32_ComputerSystemProduct": inventory.product,
            "Win32_BIOS": inventory.bios,
            "Win32_Processor": inventory.processors,
            "Win32_PhysicalMemory": inventory.physical_memory,
            "Win32_LogicalDisk": inventory.logical_disks,
            "Win32_NetworkAdapter": adapters.win32_adapters,
            "Win32_NetworkAdapterConfiguration": adapters.configurations,
        }
        for class_name, rows in sources.items():
            table.serve(class_name, rows, namespace=NAMESPACE_CIMV2)
        table.serve(
            "Win32_Volume",
            inventory.volumes,
            namespace=NAMESPACE_CIMV2,
            put=lambda row, changes, _: inventory.put_volume(row, dict(changes)),
        )
        table.serve("MSFT_NetAdapter", adapters.net_adapters, namespace=NAMESPACE_STANDARDCIMV2)
        table.serve("MSFT_NetIPAddress", adapters.net_addresses, namespace=NAMESPACE_STANDARDCIMV2)

    def _register_counters(self, table: ClassTable) -> None:
        counters = self._performance
        raw, formatted = "Win32_PerfRawData_", "Win32_PerfFormattedData_"
        vmms = f"{formatted}VmmsVirtualMachineStats"
        sources: dict[str, RowSource] = {
            f"{raw}HvStats_HyperVHypervisorLogicalProcessor": counters.logical_raw,
            f"{formatted}HvStats_HyperVHypervisorLogicalProcessor": counters.logical_formatted,
            f"{raw}HvStats_HyperVHypervisorVirtualProcessor": counters.virtual_raw,
            f"{formatted}HvStats_HyperVHypervisorVirtualProcessor": counters.virtual_formatted,
            f"{formatted}HvStats_HyperVHypervisor": counters.hypervisor,
            f"{raw}Counters_HyperVVirtualStorageDevice": counters.storage_raw,
            f"{raw}NvspNicStats_HyperVVirtualNetworkAdapter": counters.network_raw,
            f"{raw}Tcpip_NetworkInterface": counters.interfaces_raw,
            f"{formatted}Counters_ProcessorInformation": counters.root_formatted,
            f"{formatted}PerfOS_Memory": counters.root_memory,
            f"{formatted}BalancerStats_HyperVDynamicMemoryVM": counters.dynamic_memory,
            f"{formatted}VidPerfProvider_HyperVVMVidPartition": counters.partitions,
            f"{vmms}_HyperVVirtualMachineHealthSummary": counters.health,
        }
        for class_name, rows in sources.items():
            table.serve(class_name, rows, namespace=NAMESPACE_CIMV2)


def merged(*parts: Mapping[str, Callable[[MethodCall], Reply]]) -> dict[str, Handler]:
    """Return all methods of a service; two parts must not have the same method (ValueError)."""
    methods: dict[str, Handler] = {}
    for part in parts:
        for name, handler in part.items():
            if name in methods:
                raise ValueError(f"{name} is modelled twice")
            methods[name] = handler
    return methods
