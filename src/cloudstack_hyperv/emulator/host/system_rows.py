"""Rows of machines and their parts: systems, settings, devices that exist while one runs.

Sources: Microsoft's class pages; which devices a running machine adds from recordings and from
what libvirt's driver and os-win look for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

from cloudstack_hyperv.cim.constants import ResourceSubType
from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.boot_sources import boot_devices
from cloudstack_hyperv.emulator.host.clock import NEVER
from cloudstack_hyperv.emulator.host.kvp import KeyValueExchange
from cloudstack_hyperv.emulator.host.machine import Machine, PowerState
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.site import Site, text
from cloudstack_hyperv.emulator.host.texts import in_language

SYSTEM = "Msvm_ComputerSystem"
PLANNED_SYSTEM = "Msvm_PlannedComputerSystem"
_OK = 2
_NO_CHANGE = 5
"""What RequestedState shows of a machine that is not changing."""
_TRANSITIONS = (PowerState.SAVING, PowerState.PAUSING, PowerState.RESUMING)


class SystemRows:
    """Rows of the machines of one host."""

    def __init__(self, site: Site, machines: Machines, exchange: KeyValueExchange) -> None:
        self._site = site
        self._machines = machines
        self._exchange = exchange

    def systems(self) -> Iterator[Row]:
        """Yield the machines and then the host's own row.

        The host's row does not come first: go-wsman takes the first row for a machine.
        """
        for machine in self._machines:
            yield self.system(machine)
        yield self.host_system()

    def find_system(self, keys: Mapping[str, str]) -> Row | None:
        """Return the system of a full key."""
        wanted = {name.lower(): value for name, value in keys.items()}
        if wanted.get("creationclassname", SYSTEM).lower() != SYSTEM.lower():
            return None
        name = wanted.get("name", "")
        if name.upper() == self._site.name:
            return self.host_system()
        machine = self._machines.get(name)
        return self.system(machine) if machine is not None else None

    def host_system(self) -> Row:
        """Return the host's own Msvm_ComputerSystem."""
        profile = self._site.profile
        return Row(
            SYSTEM,
            {
                "Caption": in_language(profile, "Hosting Computer System"),
                "Description": in_language(profile, "Microsoft Hosting Computer System"),
                "ElementName": self._site.name,
                "OperationalStatus": [2],
                "Status": "OK",
                "StatusDescriptions": ["OK"],
                "HealthState": 5,
                "EnabledState": 2,
                "RequestedState": 12,
                "EnabledDefault": 2,
                "CreationClassName": SYSTEM,
                "Name": self._site.name,
                "ResetCapability": 1,
                "NumberOfNumaNodes": self._site.config.sockets,
            },
        )

    def system(self, machine: Machine) -> Row:
        """Return a machine's Msvm_ComputerSystem."""
        now = self._site.timeline.now()
        status, texts = machine.operational_status()
        is_transition = machine.state in _TRANSITIONS
        values: dict[str, Value] = {
            "Caption": in_language(self._site.profile, "Virtual Machine"),
            "Description": "Microsoft Virtual Machine",
            "ElementName": machine.name,
            "InstallDate": machine.created,
            "OperationalStatus": status,
            "StatusDescriptions": [in_language(self._site.profile, each) for each in texts],
            "Status": "OK" if status[0] == _OK else texts[0],
            "HealthState": 25 if machine.critical else 5,
            "EnabledState": machine.state.enabled_state,
            "OtherEnabledState": machine.state.value if is_transition else None,
            "RequestedState": machine.requested_state if is_transition else _NO_CHANGE,
            "EnabledDefault": 2 if machine.state.has_worker else 3,
            "TimeOfLastStateChange": machine.state_changed or NEVER,
            "TimeOfLastConfigurationChange": machine.config_changed or machine.created,
            "CreationClassName": SYSTEM,
            "Name": machine.machine_id,
            "ResetCapability": 1,
            "OnTimeInMilliseconds": machine.uptime(now) // timedelta(milliseconds=1),
            "NumberOfNumaNodes": 1,
            "ReplicationState": 0,
            "ReplicationMode": 0,
            "LastReplicationTime": NEVER,
            "LastApplicationConsistentReplicationTime": NEVER,
        }
        if machine.process_id:
            values["ProcessID"] = machine.process_id
            values["HwThreadsPerCoreRealized"] = self._site.config.threads
        if self._site.profile.order > 2012:
            values.update(
                ReplicationHealth=0,
                FailedOverReplicationType=0,
                LastReplicationType=0,
                EnhancedSessionModeState=3,
            )
        return Row(SYSTEM, values)

    def settings(self) -> Iterator[Row]:
        """Yield settings of machines and checkpoints."""
        for machine in self._machines.everything():
            for settings in machine.all_settings():
                yield settings.system

    def find_setting(self, keys: Mapping[str, str]) -> Row | None:
        """Return the system settings of an InstanceID."""
        instance_id = next(iter(keys.values()), "")
        owner = self._machines.owner_of(instance_id)
        if owner is None or "\\" in instance_id:
            return None
        return owner[1].system

    def resources(self, class_name: str) -> Iterator[Row]:
        """Yield resources of one class, of machines and checkpoints."""
        kvp = class_name == "Msvm_KvpExchangeComponentSettingData"
        for machine in self._machines.everything():
            for settings in machine.all_settings():
                for row in settings.of_class(class_name):
                    yield self._with_items(machine, row) if kvp else row

    def _with_items(self, machine: Machine, row: Row) -> Row:
        items = list(self._exchange.host_items(machine))
        return Row(row.class_name, {**row.values, "HostExchangeItems": items or None})

    def find_resource(self, class_name: str, keys: Mapping[str, str]) -> Row | None:
        """Return the resource of an InstanceID."""
        instance_id = next(iter(keys.values()), "").upper()
        owner = self._machines.owner_of(instance_id)
        if owner is None:
            return None
        machine, settings = owner
        row = settings.resources.get(instance_id) or settings.features.get(instance_id)
        if row is None or row.class_name != class_name:
            return None
        if class_name == "Msvm_KvpExchangeComponentSettingData":
            return self._with_items(machine, row)
        return row

    def features(self, class_name: str) -> Iterator[Row]:
        """Yield port features of one class."""
        for machine in self._machines.everything():
            for settings in machine.all_settings():
                for row in settings.features.values():
                    if row.class_name == class_name:
                        yield row

    def security(self) -> Iterator[Row]:
        """Yield security settings."""
        for machine in self._machines.everything():
            for settings in machine.all_settings():
                if settings.security is not None:
                    yield settings.security

    def boot_sources(self) -> Iterator[Row]:
        """Yield the boot sources of generation 2 machines."""
        for machine in self._machines.everything():
            for settings in machine.all_settings():
                if settings.generation == 2:
                    for device in boot_devices(settings):
                        yield boot_source_row(device)

    # Devices of running machines -----------------------------------------------------------

    def running(self) -> Iterator[Machine]:
        """Yield machines that have a worker process."""
        return (machine for machine in self._machines if machine.state.has_worker)

    def devices(self, make: Callable[[Machine], Iterator[Row]]) -> Iterator[Row]:
        """Yield what `make` yields for every running machine."""
        for machine in self.running():
            yield from make(machine)

    def keyboard(self, machine: Machine) -> Iterator[Row]:
        """Yield the keyboard."""
        guid = catalogue.kind_by_sub_type(ResourceSubType.SYNTHETIC_KEYBOARD).definition
        yield device_row(
            machine,
            "Msvm_Keyboard",
            guid,
            "Keyboard",
            EnabledState=5,
            IsLocked=False,
            Layout="00000409",
            NumberOfFunctionKeys=12,
            Password=5,
            UnicodeSupported=False,
        )

    def video_head(self, machine: Machine) -> Iterator[Row]:
        """Yield the screen."""
        width, height = self._site.config.video
        on = machine.is_running
        yield device_row(
            machine,
            "Msvm_VideoHead",
            f"{DISPLAY_GUID}\\0",
            "Video Head",
            EnabledState=2 if on else 3,
            CurrentBitsPerPixel=32,
            CurrentHorizontalResolution=width,
            CurrentVerticalResolution=height,
            MaxRefreshRate=60,
            MinRefreshRate=60,
            CurrentRefreshRate=60,
            CurrentScanMode=3,
            CurrentNumberOfColors=2**32,
        )

    def display_controller(self, machine: Machine) -> Iterator[Row]:
        """Yield the synthetic display controller."""
        yield device_row(
            machine,
            "Msvm_SyntheticDisplayController",
            DISPLAY_GUID,
            "Display Controller",
            EnabledState="2",
            ProtocolSupported=1,
            MaxNumberControlled=1,
            ProtocolDescription="Video",
            VideoProcessor="Synthetic Video Processor",
            VideoMemoryType=2,
            NumberOfVideoPages=1024,
            MaxMemorySupported=4194304,
            AcceleratorCapabilities=[2],
            CapabilityDescriptions=["Graphics Accelerator"],
        )

    def component(self, machine: Machine, class_name: str) -> Iterator[Row]:
        """Yield an integration component that is switched on."""
        setting = f"{class_name}SettingData"
        kind = next((k for k in catalogue.COMPONENTS if k.class_name == setting), None)
        if kind is None or not any(True for _ in machine.settings.of_class(setting)):
            return
        enabled = machine.settings.component_enabled(setting)
        status = self._component_status(machine, class_name)
        extra: dict[str, Value] = {
            "OperationalStatus": status,
            "StatusDescriptions": [
                "OK" if status[0] == 2 else "No Contact",
                *(["OK"] * len(status[1:])),
            ],
            "EnabledState": 2 if enabled else 3,
        }
        if class_name == "Msvm_KvpExchangeComponent":
            extra["GuestExchangeItems"] = list(self._exchange.guest_items(machine)) or None
            extra["GuestIntrinsicExchangeItems"] = (
                list(self._exchange.intrinsic_items(machine)) or None
            )
        yield device_row(machine, class_name, kind.definition, kind.caption, **extra)

    def _component_status(self, machine: Machine, class_name: str) -> list[int]:
        now = self._site.timeline.now()
        guest = machine.guest
        if class_name == "Msvm_HeartbeatComponent":
            beat = machine.heartbeat(now)
            return [2, 32775] if beat == 2 else [beat if beat is not None else 12]
        if guest is None:
            return [12]
        up = guest.kvp_up(now) if class_name.startswith("Msvm_Kvp") else guest.services_up(now)
        return [2] if up else [12]

    def processors(self, machine: Machine) -> Iterator[Row]:
        """Yield the virtual processors."""
        load = machine.load_percent(self._site.timeline.now())
        for index in range(machine.processors):
            yield device_row(
                machine,
                "Msvm_Processor",
                f"{PROCESSOR_GUID}\\{index}",
                "Processor",
                EnabledState=2,
                LoadPercentage=load,
                CPUStatus=1,
                MaxClockSpeed=self._site.config.mhz,
                CurrentClockSpeed=self._site.config.mhz,
            )

    def memory(self, machine: Machine) -> Iterator[Row]:
        """Yield the memory."""
        mib = machine.memory_usage(self._site.timeline.now())
        yield device_row(
            machine,
            "Msvm_Memory",
            MEMORY_GUID,
            "Memory",
            EnabledState=2,
            BlockSize=2**20,
            NumberOfBlocks=mib,
            ConsumableBlocks=mib,
            Volatile=True,
            Access=3,
        )

    def guest_networks(self) -> Iterator[Row]:
        """Yield the guests' own network configuration, one row an adapter."""
        now = self._site.timeline.now()
        for machine in self._machines:
            known = machine.guest_addresses(now)
            for nic in machine.settings.of_class(catalogue.NIC):
                nic_id = str(nic.values["InstanceID"])
                values: dict[str, Value] = {
                    "InstanceID": nic_id.replace("Microsoft:", "Microsoft:GuestNetwork\\", 1),
                    "ProtocolIFType": 4096 if nic_id in known else 0,
                    "DHCPEnabled": True,
                }
                static = machine.guest_networks.get(nic_id)
                if nic_id in known and static is not None:
                    values.update(
                        DHCPEnabled=False,
                        IPAddresses=list(static.addresses),
                        IPAddressOrigins=[2] * len(static.addresses),
                        Subnets=list(static.subnets),
                        DefaultGateways=list(static.gateways),
                        DNSServers=list(static.dns_servers),
                    )
                elif nic_id in known and machine.guest is not None:
                    values.update(
                        IPAddresses=[known[nic_id]],
                        Subnets=[machine.guest.netmask],
                        DefaultGateways=[machine.guest.gateway],
                        DNSServers=[machine.guest.gateway],
                    )
                yield Row("Msvm_GuestNetworkAdapterConfiguration", values)


DISPLAY_GUID = catalogue.kind_by_sub_type(ResourceSubType.SYNTHETIC_DISPLAY).definition
PROCESSOR_GUID = catalogue.kind_by_sub_type(ResourceSubType.PROCESSOR).definition
MEMORY_GUID = catalogue.kind_by_sub_type(ResourceSubType.MEMORY).definition


def device_row(
    machine: Machine, class_name: str, device: str, caption: str, **values: Value
) -> Row:
    """Return a device of a machine."""
    merged: dict[str, Value] = {
        "Caption": caption,
        "Description": f"Microsoft {caption}",
        "ElementName": caption,
        "Name": caption,
        "OperationalStatus": [2],
        "StatusDescriptions": ["OK"],
        "HealthState": 5,
        "OtherEnabledState": "",
        "RequestedState": 12,
        "EnabledDefault": 2,
        "TimeOfLastStateChange": NEVER,
        "SystemCreationClassName": SYSTEM,
        "SystemName": machine.machine_id,
        "CreationClassName": class_name,
        "DeviceID": f"Microsoft:{machine.machine_id}\\{device}",
        **values,
    }
    return Row(class_name, merged)


def boot_source_row(device: Row) -> Row:
    """Return the boot source of a device."""
    kind = 2 if device.class_name == catalogue.NIC else 1
    name = "EFI Network" if kind == 2 else "EFI SCSI Device"
    return Row(
        "Msvm_BootSourceSettingData",
        {
            "InstanceID": f"{device.values['InstanceID']}\\B",
            "Caption": "Boot Source",
            "Description": "Settings for a boot source.",
            "ElementName": text(device.values, "ElementName"),
            "BootSourceType": kind,
            "BootSourceDescription": name,
            "FirmwareDevicePath": f"\\AcpiEx(VMBus,0,0)\\{device.values['InstanceID']}",
            "OtherLocation": "",
        },
    )
