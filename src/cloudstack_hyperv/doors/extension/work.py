"""What an action gets to work with, and what several actions ask of it."""

from __future__ import annotations

from dataclasses import dataclass

from cloudstack_hyperv.doors.extension.payload import Payload
from cloudstack_hyperv.hypervisor.errors import VirtualMachineNotFound
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.hypervisor.ownership import Ownership
from cloudstack_hyperv.messages.objects.vm import VirtualMachineTO
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_machines import find_ours
from cloudstack_hyperv.resource.vm_wish import ownership_of
from cloudstack_hyperv.storage.windows_paths import join_path
from cloudstack_hyperv.wsman.api import CimClient


@dataclass(frozen=True, slots=True)
class Work:
    """One action on one VM of one host."""

    payload: Payload
    context: HostContext
    seconds: float
    """What is left for the action, its undoing included."""

    @property
    def vm(self) -> VirtualMachineTO:
        """The VM as CloudStack describes it."""
        return self.payload.vm

    @property
    def name(self) -> str:
        """CloudStack's instance name."""
        return self.payload.vm.name

    @property
    def cim(self) -> CimClient:
        """The host."""
        return self.context.cim

    @property
    def ownership(self) -> Ownership:
        """The VM's mark; raises CommandRefused for a name or uuid that cannot be."""
        return ownership_of(self.payload.vm)

    @property
    def disk_folder(self) -> str:
        """Where the VM's own disks are; raises CommandRefused when nothing says it."""
        folder = self.payload.host.disk_folder
        if folder is None:
            raise CommandRefused("the host's detail vhd_path is missing: it says where disks go")
        return folder

    @property
    def root_disk(self) -> str:
        """The file of the VM's root disk: `<vhd_path>\\<name>.vhdx`, as in the stock sample."""
        return join_path(self.disk_folder, f"{self.name}.vhdx")

    async def find(self) -> Machine | None:
        """Return the VM, None if the host has none; raises NotOurs for another's."""
        wanted = self.ownership
        machine = await find_ours(self.context, self.name)
        if machine is not None and not wanted.same_machine(machine.ownership):
            raise CommandRefused(
                f"VM {self.name} on this host belongs to another CloudStack VM; it is left alone"
            )
        return machine

    async def require(self) -> Machine:
        """Return the VM; raises VirtualMachineNotFound."""
        machine = await self.find()
        if machine is None:
            raise VirtualMachineNotFound(f"the host has no VM {self.name}")
        return machine
