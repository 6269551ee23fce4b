"""Msvm_VirtualSystemManagementService: making, changing and destroying machines.

Every method checks its arguments, works on a draft and becomes an `Operation`, so that 0 and 4096
do the same thing at different times.

Source: Microsoft's page Msvm_VirtualSystemManagementService and its methods' pages.
"""

from __future__ import annotations

import ntpath
from collections.abc import Awaitable, Callable

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import (
    SYSTEM_TYPE_PLANNED,
    ReturnCode,
)
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row, Value
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.arguments import (
    instance,
    instances,
    reference,
    references,
)
from cloudstack_hyperv.emulator.host.checkpoints import Checkpoints
from cloudstack_hyperv.emulator.host.configuration import (
    Configuration,
)
from cloudstack_hyperv.emulator.host.disk_chains import ChainWork
from cloudstack_hyperv.emulator.host.disks import HostDisks, os_failure
from cloudstack_hyperv.emulator.host.editor import Editor
from cloudstack_hyperv.emulator.host.jobs import JobKind
from cloudstack_hyperv.emulator.host.machine import Machine, PowerState
from cloudstack_hyperv.emulator.host.machine_factory import MachineFactory
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.operation import Operation
from cloudstack_hyperv.emulator.host.outcome import (
    JobFailed,
    Refused,
    invalid_parameter,
    invalid_state,
)
from cloudstack_hyperv.emulator.host.power import Power
from cloudstack_hyperv.emulator.host.scripts import GuestScripts
from cloudstack_hyperv.emulator.host.site import (
    Site,
    machine_reference,
    planned_reference,
    setting_reference,
    text,
)
from cloudstack_hyperv.emulator.host.switches import Switches
from cloudstack_hyperv.emulator.host.system_settings import (
    changed_checkpoint,
    changed_system,
)

DEFINE = JobKind.concrete(1, "Defining Virtual Machine")
MODIFY = JobKind.concrete(2, "Modifying Virtual Machine")
DESTROY = JobKind.concrete(3, "Destroying Virtual Machine")
ADD = JobKind.concrete(30, "Adding Virtual Machine Resources")
MODIFY_RESOURCES = JobKind.concrete(31, "Modifying Virtual Machine Resources")
REMOVE = JobKind.concrete(32, "Removing Virtual Machine Resources")

_CONFIGURATION = b"emulated configuration\n"
Reply = MethodReply | Awaitable[MethodReply]


class Definition:
    """The part of the management service that changes what machines are made of."""

    def __init__(
        self,
        site: Site,
        machines: Machines,
        switches: Switches,
        disks: HostDisks,
        power: Power,
        scripts: GuestScripts,
        checkpoints: Checkpoints,
        chains: ChainWork,
    ) -> None:
        self._site = site
        self._machines = machines
        self._switches = switches
        self._disks = disks
        self._power = power
        self._factory = MachineFactory(site, scripts)
        self._checkpoints = checkpoints
        self._chains = chains

    @property
    def methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        """Methods by name."""
        return {
            "DefineSystem": self.define_system,
            "DefinePlannedSystem": self.define_planned_system,
            "DestroySystem": self.destroy_system,
            "ModifySystemSettings": self.modify_system,
            "AddResourceSettings": self.add_resources,
            "ModifyResourceSettings": self.modify_resources,
            "RemoveResourceSettings": self.remove_resources,
            "ModifyGuestServiceSettings": self.modify_guest_services,
            "UpgradeSystemVersion": self.upgrade_version,
        }

    def editor(self, machine: Machine) -> Editor:
        """Return an editor for a machine's settings."""
        return Editor(self._site, self._switches, self._disks, machine)

    # DefineSystem --------------------------------------------------------------------------

    def define_system(self, call: MethodCall) -> Reply:
        """Make a machine from settings, which all may be left out."""
        return self._define(call, planned=False)

    def define_planned_system(self, call: MethodCall) -> Reply:
        """Make a planned system, which becomes a machine when it is realized."""
        if call.arguments.get("ReferenceConfiguration") is not None:
            raise Refused(ReturnCode.NOT_SUPPORTED, "a reference configuration is not modelled")
        return self._define(call, planned=True)

    def _define(self, call: MethodCall, *, planned: bool) -> Reply:
        request = call.arguments.get("SystemSettings")
        system = instance(call, "SystemSettings") if request else Row(_VSSD, {})
        if system.class_name != _VSSD:
            raise invalid_parameter("SystemSettings is not a Msvm_VirtualSystemSettingData")
        machine = self._factory.new_machine(system.values)
        machine.planned = planned
        if planned:
            machine.settings.set_system(VirtualSystemType=SYSTEM_TYPE_PLANNED)
        reference_to = planned_reference if planned else machine_reference
        editor = self.editor(machine)
        for entry in instances(call, "ResourceSettings"):
            editor.define(entry)

        def apply(_: object) -> None:
            editor.commit()
            if planned:
                self._machines.plan(machine)
                return
            self.make_folders(machine.settings)
            self._machines.add(machine)

        return self._site.conductor.run(
            call,
            Operation(
                DEFINE,
                apply,
                self._site.config.timings.configure,
                usually_job=False,
                affected=(reference_to(machine.machine_id),),
                out={"ResultingSystem": reference_to(machine.machine_id)},
            ),
        )

    def make_folders(self, settings: Configuration) -> None:
        """Make the configuration's folders, as VMMS does, and its file; raises JobFailed."""
        values = settings.system.values
        root = text(values, "ConfigurationDataRoot")
        place = self._disks.place(ntpath.join(root, text(values, "ConfigurationFile")), "create")
        try:
            place.local.parent.mkdir(parents=True, exist_ok=True)
            self._site.files.space.take(place.root, len(_CONFIGURATION))
            place.local.write_bytes(_CONFIGURATION)
            folder = self._disks.place(ntpath.join(text(values, "SnapshotDataRoot"), "Snapshots"))
            folder.local.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise os_failure("create the configuration", root, problem) from problem

    def configuration_files(self, settings: Configuration) -> list[str]:
        """Return the Windows paths of a machine's configuration files."""
        values = settings.system.values
        name = text(values, "ConfigurationFile")
        return [ntpath.join(text(values, "ConfigurationDataRoot"), name)]

    # DestroySystem -------------------------------------------------------------------------

    def destroy_system(self, call: MethodCall) -> Reply:
        """Remove a machine; its disks stay, checkpoints are merged into them first."""
        machine = self._machines.referenced(call, "AffectedSystem")
        if machine.planned:
            return self._destroy_planned(call, machine)
        if machine.state not in (PowerState.OFF, PowerState.SAVED) or machine.merging:
            raise invalid_state(f"{machine.name} is {machine.state.value}")
        has_checkpoints = bool(machine.checkpoints)
        collapse = self._checkpoints.collapse_without(machine)

        def apply(moves: dict[str, str] | None) -> None:
            self._disks.release(machine.machine_id)
            machine.checkpoints.clear()
            self._checkpoints.take_moves(machine, moves or {})
            for path in self.configuration_files(machine.settings):
                self._disks.place(path).local.unlink(missing_ok=True)
            self._site.board.forget_machine(machine.machine_id)
            linger = self._site.config.timings.linger
            if linger:
                self._site.timeline.after(linger, lambda: self._machines.remove(machine))
            else:
                self._machines.remove(machine)

        return self._site.conductor.run(
            call,
            Operation(
                DESTROY,
                apply,
                self._site.config.timings.destroy,
                machine=machine,
                affected=(machine_reference(machine.machine_id),),
                work=(lambda _: self._chains.collapse(collapse)) if has_checkpoints else None,
            ),
        )

    def _destroy_planned(self, call: MethodCall, machine: Machine) -> Reply:
        """Forget a planned system; its files are somebody else's."""
        return self._site.conductor.run(
            call,
            Operation(
                DESTROY,
                lambda _: self._machines.drop_plan(machine),
                self._site.config.timings.destroy,
                machine=machine,
                affected=(planned_reference(machine.machine_id),),
            ),
        )

    # Settings ------------------------------------------------------------------------------

    def modify_system(self, call: MethodCall) -> Reply:
        """Change settings of a machine, or the name and notes of a checkpoint."""
        request = instance(call, "SystemSettings")
        instance_id = text(request.values, "InstanceID")
        owner = self._machines.owner_of(instance_id)
        if request.class_name != _VSSD or owner is None or "\\" in instance_id:
            raise invalid_parameter("InstanceID names no settings of this host")
        machine, settings = owner
        if settings is machine.settings:
            changed = changed_system(
                self._site, settings, request, is_off=machine.is_off, is_planned=machine.planned
            )
            if machine.role and changed.get("AutomaticStartupAction", _NO_START) != _NO_START:
                raise invalid_state("the failover cluster decides when the machine starts")
        else:
            changed = changed_checkpoint(request, settings.system)

        def apply(_: object) -> None:
            settings_now = self._machines.owner_of(instance_id)
            if settings_now is None:
                raise JobFailed(ReturnCode.FAILED, "The settings are gone.", 0x80070002)
            settings_now[1].set_system(**changed)
            machine.config_changed = self._site.timeline.now()
            self._machines.announce(machine)

        return self._run(call, MODIFY, machine, apply)

    def _run(
        self,
        call: MethodCall,
        kind: JobKind,
        machine: Machine,
        apply: Callable[[object], None],
        *,
        out: dict[str, Value] | None = None,
        usually_job: bool = True,
    ) -> Reply:
        return self._site.conductor.run(
            call,
            Operation(
                kind,
                apply,
                self._site.config.timings.configure,
                usually_job=usually_job,
                machine=machine,
                affected=(machine_reference(machine.machine_id),),
                out=out or {},
            ),
        )

    def _commit(self, machine: Machine, editor: Editor) -> Callable[[object], None]:
        def apply(_: object) -> None:
            before = machine.settings
            editor.commit()
            if machine.state.has_worker:
                try:
                    self._power.hold_files(machine)
                except JobFailed:
                    machine.settings = before
                    self._power.hold_files(machine)
                    raise
            self._machines.announce(machine)

        return apply

    def _resulting(self, editor: Editor) -> dict[str, Value]:
        return {"ResultingResourceSettings": [self._site.reference(row) for row in editor.results]}

    def add_resources(self, call: MethodCall) -> Reply:
        """Add devices to a machine."""
        machine = self._machines.referenced(call, "AffectedConfiguration")
        requests = instances(call, "ResourceSettings")
        if not requests:
            raise invalid_parameter("ResourceSettings is empty")
        editor = self.editor(machine)
        for request in requests:
            editor.add(request)
        return self._run(
            call,
            ADD,
            machine,
            self._commit(machine, editor),
            out=self._resulting(editor),
            usually_job=not machine.is_off,
        )

    def modify_resources(self, call: MethodCall) -> Reply:
        """Change devices; all of one machine."""
        requests = instances(call, "ResourceSettings")
        if not requests:
            raise invalid_parameter("ResourceSettings is empty")
        editor: Editor | None = None
        owner: Machine | None = None
        for request in requests:
            path = setting_reference(request.class_name, text(request.values, "InstanceID"))
            machine, settings, row = self._machines.resource(path, "InstanceID")
            if settings is not machine.settings:
                raise invalid_parameter("settings of a checkpoint cannot be changed")
            if editor is None or owner is None:
                editor, owner = self.editor(machine), machine
            if machine is not owner:
                raise invalid_parameter("ResourceSettings name more than one virtual machine")
            editor.modify(editor.draft.resources[_key(row)], request)
        if editor is None or owner is None:
            raise invalid_parameter("ResourceSettings is empty")
        return self._run(
            call,
            MODIFY_RESOURCES,
            owner,
            self._commit(owner, editor),
            out=self._resulting(editor),
        )

    def remove_resources(self, call: MethodCall) -> Reply:
        """Remove devices; all of one machine."""
        paths = references(call, "ResourceSettings")
        owner = self._only_owner(paths)
        editor = self.editor(owner)
        for path in paths:
            editor.remove(path)
        return self._run(call, REMOVE, owner, self._commit(owner, editor))

    def _only_owner(self, paths: list[ObjectPath]) -> Machine:
        owners: dict[str, Machine] = {}
        for path in paths:
            machine, settings, _ = self._machines.resource(path, "ResourceSettings")
            if settings is not machine.settings:
                raise invalid_parameter("settings of a checkpoint cannot be changed")
            owners[machine.machine_id] = machine
        if len(owners) != 1:
            raise invalid_parameter("ResourceSettings must name resources of one virtual machine")
        return next(iter(owners.values()))

    def modify_guest_services(self, call: MethodCall) -> Reply:
        """Switch integration components on or off."""
        names = [text(row.values, "InstanceID") for row in instances(call, "GuestServiceSettings")]
        components = {kind.class_name for kind in catalogue.COMPONENTS}
        for row in instances(call, "GuestServiceSettings"):
            if row.class_name not in components or row.values.get("EnabledState") not in (
                2,
                3,
                None,
            ):
                raise invalid_parameter("GuestServiceSettings holds integration components")
        owner = self._machines.owner_of(names[0]) if names else None
        if owner is None:
            raise invalid_parameter("GuestServiceSettings names no virtual machine")
        machine = owner[0]
        editor = self.editor(machine)
        for row in instances(call, "GuestServiceSettings"):
            current = editor.draft.resources.get(text(row.values, "InstanceID").upper())
            if current is None:
                raise invalid_parameter("GuestServiceSettings names no component")
            editor.modify(current, row)
        out: dict[str, Value] = {
            "ResultingGuestServiceSettings": [self._site.reference(r) for r in editor.results]
        }
        return self._run(call, MODIFY, machine, self._commit(machine, editor), out=out)

    def upgrade_version(self, call: MethodCall) -> Reply:
        """Lift a machine's configuration version to the release's newest."""
        machine = self._machines.resolve(reference(call, "ComputerSystem"))
        if machine is None:
            raise invalid_parameter("ComputerSystem names no virtual machine")
        newest = self._site.profile.default_configuration
        if not machine.is_off or machine.settings.version == newest:
            raise invalid_state("the machine is not off, or is up to date")

        def apply(_: object) -> None:
            machine.settings.set_system(Version=newest)
            self._machines.announce(machine)

        return self._run(call, MODIFY, machine, apply)


_VSSD = "Msvm_VirtualSystemSettingData"
_NO_START = 2


def _key(row: Row) -> str:
    return str(row.values["InstanceID"]).upper()
