"""Commands about the life of a VM: start, stop, reboot, state, size, NICs, console."""

import msgspec

from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.vm import (
    AttachIsoAnswer,
    CheckVirtualMachineAnswer,
    FreezeThawVMAnswer,
    GetExternalConsoleAnswer,
    GetVmConfigAnswer,
    GetVmVncTicketAnswer,
    GetVncPortAnswer,
    ModifyVmNicConfigAnswer,
    PlugNicAnswer,
    PrepareExternalProvisioningAnswer,
    RebootAnswer,
    ReplugNicAnswer,
    RunCustomActionAnswer,
    ScaleVmAnswer,
    StartAnswer,
    StopAnswer,
    UnPlugNicAnswer,
)
from cloudstack_hyperv.messages.command import Command, command
from cloudstack_hyperv.messages.java import AGENT_API
from cloudstack_hyperv.messages.json_text import Json
from cloudstack_hyperv.messages.objects.vm import DpdkTO, GPUDeviceTO, NicTO, VirtualMachineTO


@command(AGENT_API, answer=StartAnswer)
class StartCommand(Command, kw_only=True):
    """Define and start a VM.  `secondary_storage` is there for system VMs only."""

    vm: VirtualMachineTO
    host_ip: str | None = None
    execute_in_sequence: bool = False
    secondary_storage: str | None = None


@command(AGENT_API, answer=RebootAnswer)
class RebootCommand(Command, kw_only=True):
    """Reboot a VM."""

    vm_name: str
    vm: VirtualMachineTO | None = None
    execute_in_sequence: bool = False


@command(AGENT_API, answer=StopAnswer)
class StopCommand(RebootCommand):
    """Stop a VM and forget its definition, never its disks.

    With `check_before_cleanup` only a VM that does not run may be cleaned up.
    """

    is_proxy: bool = False
    url_port: str | None = None
    public_console_proxy_ip_address: str | None = None
    gpu_device: GPUDeviceTO | None = None
    check_before_cleanup: bool = False
    control_ip: str | None = None
    force_stop: bool = False
    dpdk_interface_mapping: dict[str, DpdkTO] | None = None
    vlan_to_persistence_map: dict[str, bool] | None = None
    expunge_vm: bool = msgspec.field(default=False, name="expungeVM")
    volumes_to_disconnect: list[dict[str, str]] = msgspec.field(default_factory=list)
    stop_details: dict[str, str] | None = msgspec.field(default=None, name="_details")


@command(AGENT_API, answer=RebootAnswer)
class RebootRouterCommand(RebootCommand):
    """Reboot a virtual router and wait until it can be reached."""

    private_ip: str | None = None


@command(AGENT_API, answer=CheckVirtualMachineAnswer)
class CheckVirtualMachineCommand(Command, kw_only=True):
    """Tell the power state of a VM."""

    vm_name: str


@command(AGENT_API, answer=Answer)
class CheckStateCommand(Command):
    """Tell the state of a VM (older)."""

    vm_name: str | None = None


@command(AGENT_API, answer=ScaleVmAnswer)
class ScaleVmCommand(Command, kw_only=True):
    """Change processors and memory of a running VM; speeds in MHz, memory in bytes."""

    vm: VirtualMachineTO
    vm_name: str | None = None
    cpus: int = 0
    speed: int | None = None
    min_speed: int | None = None
    max_speed: int | None = None
    min_ram: int = 0
    max_ram: int = 0
    limit_cpu_use: bool | None = None


@command(AGENT_API, answer=Answer)
class UnregisterVMCommand(Command):
    """Forget the definition of a VM (VMware)."""

    vm_name: str | None = None
    cleanup_vm_files: bool = False
    execute_in_sequence: bool = False


@command(AGENT_API, answer=Answer)
class CleanupVMCommand(Command):
    """Remove what is left of a VM."""

    vm_name: str | None = None
    execute_in_sequence: bool = False


@command(AGENT_API, answer=GetVmConfigAnswer)
class GetVmConfigCommand(Command, kw_only=True):
    """List the NICs of a VM in the order of the guest's interfaces."""

    vm_name: str


@command(AGENT_API, answer=ModifyVmNicConfigAnswer)
class ModifyVmNicConfigCommand(Command, kw_only=True):
    """Set VLAN, switch and state of a NIC, found by MAC address or by position."""

    vm_name: str
    vlan: str | None = None
    mac_address: str | None = None
    index: int = 0
    enable: bool = False
    switch_label_name: str | None = msgspec.field(default=None, name="switchLableName")


@command(AGENT_API, answer=PlugNicAnswer)
class PlugNicCommand(Command, kw_only=True):
    """Add a NIC."""

    nic: NicTO
    instance_name: str
    vm_type: str | None = None
    details: dict[str, str] | None = None


@command(AGENT_API, answer=UnPlugNicAnswer)
class UnPlugNicCommand(Command, kw_only=True):
    """Remove a NIC."""

    nic: NicTO
    instance_name: str
    vlan_to_persistence_map: dict[str, bool] | None = None


@command(AGENT_API, answer=ReplugNicAnswer)
class ReplugNicCommand(Command):
    """Connect a NIC to another network."""

    nic: NicTO | None = None
    instance_name: str | None = None
    vm_type: str | None = None
    details: dict[str, str] | None = None


@command(AGENT_API, answer=Answer)
class UnregisterNicCommand(Command):
    """Forget a NIC's port (VMware)."""

    vm_name: str | None = None
    traffic_label: str | None = None
    mac_address: str | None = None


@command(AGENT_API, answer=GetVncPortAnswer)
class GetVncPortCommand(Command, kw_only=True):
    """Tell where a VM's console is."""

    id: int = 0
    name: str


@command(AGENT_API, answer=GetVmVncTicketAnswer)
class GetVmVncTicketCommand(Command):
    """Get a ticket for a VM's console (VMware)."""

    vm_internal_name: str | None = None


@command(AGENT_API, answer=Answer)
class GetVmIpAddressCommand(Command, kw_only=True):
    """Ask the guest for its address; the answer's `details` is the address."""

    vm_name: str
    vm_network_cidr: str | None = None
    windows: bool = False
    mac_address: str | None = None


@command(AGENT_API, answer=AttachIsoAnswer)
class AttachIsoCommand(Command):
    """Attach or detach an ISO (VMware's older command)."""

    vm_name: str | None = None
    store_url: str | None = None
    iso_path: str | None = None
    attach: bool = False
    device_key: int | None = None
    force: bool = False


@command(AGENT_API, answer=Answer)
class AttachOrDettachConfigDriveCommand(Command):
    """Attach or detach a config drive made of `vm_data` (XenServer)."""

    vm_name: str | None = None
    vm_data: list[list[str]] | None = None
    config_drive_label: str | None = None
    is_attach: bool = False


@command(AGENT_API, answer=FreezeThawVMAnswer)
class FreezeThawVMCommand(Command):
    """Freeze or thaw the guest's file systems (KVM)."""

    vm_name: str | None = None
    option: str | None = None


@command(AGENT_API, answer=PrepareExternalProvisioningAnswer)
class PrepareExternalProvisioningCommand(Command):
    """Let an extension change a VM before its first start."""

    virtual_machine: VirtualMachineTO | None = msgspec.field(default=None, name="virtualMachineTO")


@command(AGENT_API, answer=GetExternalConsoleAnswer)
class GetExternalConsoleCommand(Command):
    """Ask an extension for a console."""

    vm_name: str | None = None
    vm: VirtualMachineTO | None = None
    execute_in_sequence: bool = False


@command(AGENT_API, answer=RunCustomActionAnswer)
class RunCustomActionCommand(Command):
    """Run an extension's own action."""

    action_name: str | None = None
    vm_to: VirtualMachineTO | None = msgspec.field(default=None, name="vmTO")
    wait_time: int | None = None
    parameters: dict[str, Json] | None = None
