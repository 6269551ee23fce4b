"""Answers about the life of a VM: start, stop, reboot, state, NICs, console."""

import msgspec

from cloudstack_hyperv.messages.answer import Answer, answer
from cloudstack_hyperv.messages.enums import PowerState
from cloudstack_hyperv.messages.java import AGENT_API
from cloudstack_hyperv.messages.objects.vm import DpdkTO, VirtualMachineTO
from cloudstack_hyperv.messages.wire import WireObject


@answer(AGENT_API)
class StartAnswer(Answer):
    """The VM runs.  On success `vm` with its disks must be there: the server reads them."""

    vm: VirtualMachineTO | None = None
    host_guid: str | None = None
    iqn_to_data: dict[str, dict[str, str]] | None = msgspec.field(default=None, name="_iqnToData")


@answer(AGENT_API)
class RebootAnswer(Answer):
    """The VM was rebooted."""

    vnc_port: int | None = None


@answer(AGENT_API)
class StopAnswer(RebootAnswer):
    """The VM is stopped, or was not there."""

    platform: str | None = None


@answer(AGENT_API)
class CheckVirtualMachineAnswer(Answer):
    """The state of a VM (the older agent's key `powerstate` is read by nobody)."""

    state: PowerState | None = None
    vnc_port: int | None = None


@answer(AGENT_API)
class PrepareForMigrationAnswer(Answer):
    """The destination can receive the VM."""

    dpdk_interface_mapping: dict[str, DpdkTO] = msgspec.field(default_factory=dict)
    new_vm_cpu_shares: int | None = None


@answer(AGENT_API)
class MigrateAnswer(Answer):
    """The VM runs on the other host."""

    vnc_port: int | None = None


@answer(AGENT_API)
class ScaleVmAnswer(Answer):
    """Processors and memory of the running VM are changed."""


@answer(AGENT_API)
class PlugNicAnswer(Answer):
    """The NIC is there."""


@answer(AGENT_API)
class UnPlugNicAnswer(Answer):
    """The NIC is gone."""


@answer(AGENT_API)
class ReplugNicAnswer(Answer):
    """The NIC is connected to another network."""


class NicDetails(WireObject):
    """A NIC as the host sees it: VLAN as text, "-1" for untagged; `state` is connected."""

    mac_address: str | None = None
    vlanid: str | None = None
    state: bool = False


@answer(AGENT_API)
class GetVmConfigAnswer(Answer):
    """The NICs of a VM in the order of the guest's interfaces: the server counts positions."""

    vm_name: str | None = None
    nics: list[NicDetails] | None = None


@answer(AGENT_API)
class ModifyVmNicConfigAnswer(Answer):
    """The NIC's VLAN, network or state is changed."""

    vm_name: str | None = None


@answer(AGENT_API)
class GetVncPortAnswer(Answer):
    """Where the console is; for Hyper-V `instanceId=<VM id>` and port -9 mean RDP by VMBus."""

    address: str | None = None
    port: int = 0


@answer(AGENT_API)
class GetVmVncTicketAnswer(Answer):
    """A one-time ticket for a VM's console (VMware)."""

    ticket: str | None = None


@answer(AGENT_API)
class AttachIsoAnswer(Answer):
    """An ISO is attached (VMware's older command)."""

    device_key: int | None = None


@answer(AGENT_API)
class FreezeThawVMAnswer(Answer):
    """The guest's file systems are frozen or thawed."""


@answer(AGENT_API)
class PrepareExternalProvisioningAnswer(Answer):
    """What an extension changed in a VM before its first start."""

    server_details: dict[str, str] | None = None
    virtual_machine: VirtualMachineTO | None = msgspec.field(default=None, name="virtualMachineTO")


@answer(AGENT_API)
class GetExternalConsoleAnswer(Answer):
    """The console that an extension offers."""

    url: str | None = None
    host: str | None = None
    port: int | None = None
    password: str | None = None
    protocol: str | None = None
    password_one_time_use_only: bool = False


@answer(AGENT_API)
class RunCustomActionAnswer(Answer):
    """What an extension's own action said."""
