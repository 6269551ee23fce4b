r"""ImportSystemDefinition and its kin: planned systems from definition files, registered in place.

Nothing is copied.  Disks that are not where the definition says are looked for beside it, in
`Virtual Hard Disks`, so that an export may be carried elsewhere as a whole.  What else does not fit
(switches, missing files) is left for the client to mend; a version that this release does not know
and an ID that is taken are refused here.

Sources: Microsoft's pages ImportSystemDefinition, ImportSnapshotDefinitions and
GetDefinitionFileSummaryInformation; Import-VM (register in place, generate new ID).
"""

from __future__ import annotations

import dataclasses
import ntpath
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta

from cloudstack_hyperv.cim.constants import SYSTEM_TYPE_PLANNED, ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row, Value
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.arguments import flag, string
from cloudstack_hyperv.emulator.host.configuration import VSSD, Configuration
from cloudstack_hyperv.emulator.host.definition_files import (
    DISKS,
    SNAPSHOTS,
    read_checkpoint,
    read_machine,
    runtime_files,
    suffixes,
)
from cloudstack_hyperv.emulator.host.guest import Guest
from cloudstack_hyperv.emulator.host.jobs import Job, JobKind
from cloudstack_hyperv.emulator.host.machine import Checkpoint, Machine, PowerState
from cloudstack_hyperv.emulator.host.migration_checks import (
    EXISTS,
    VERSION,
    accepted_versions,
    refusal,
)
from cloudstack_hyperv.emulator.host.operation import Operation
from cloudstack_hyperv.emulator.host.outcome import (
    Hresult,
    JobFailed,
    file_failure,
    invalid_parameter,
)
from cloudstack_hyperv.emulator.host.peers import Peer
from cloudstack_hyperv.emulator.host.planned import PlannedSystems
from cloudstack_hyperv.emulator.host.relocation import FOLDERS, on_host, plugged_in, with_files
from cloudstack_hyperv.emulator.host.scripts import GuestScripts
from cloudstack_hyperv.emulator.host.site import (
    number,
    planned_reference,
    setting_reference,
    strings,
)

IMPORT = JobKind.concrete(81, "Importing Virtual Machine")
IMPORT_SNAPSHOTS = JobKind.concrete(82, "Importing Virtual Machine Snapshots")
_SUMMARY = "Msvm_SummaryInformation"
_BOOTED_AGO = timedelta(hours=1)

Reply = MethodReply | Awaitable[MethodReply]


class Import:
    """The importing part of the management service of one host."""

    def __init__(self, here: Peer, planned: PlannedSystems, scripts: GuestScripts) -> None:
        self._here = here
        self._site = here.site
        self._disks = here.disks
        self._planned = planned
        self._scripts = scripts

    @property
    def methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        """Methods of the management service by name."""
        return {
            "ImportSystemDefinition": self.import_system,
            "ImportSnapshotDefinitions": self.import_snapshots,
            "GetDefinitionFileSummaryInformation": self.summarize,
        }

    def import_system(self, call: MethodCall) -> Reply:
        """Make a planned system of a definition file."""
        path = string(call, "SystemDefinitionFile")
        folder = _folder(call)
        new_identity = flag(call, "GenerateNewSystemIdentifier")
        out: dict[str, Value] = {}
        jobs: list[Job] = []

        def apply(_: object) -> None:
            machine = self._load(path, new_identity=new_identity)
            if folder:
                self._take_checkpoints(machine, path, folder)
            self._here.machines.plan(machine)
            reference = planned_reference(machine.machine_id)
            out["ImportedSystem"] = reference
            for job in jobs:
                job.created.append(reference)

        return self._run(call, IMPORT, apply, out, jobs)

    def import_snapshots(self, call: MethodCall) -> Reply:
        """Give a planned system its checkpoints."""
        machine = self._planned.referenced(call)
        folder = string(call, "SnapshotFolder")
        out: dict[str, Value] = {}
        jobs: list[Job] = []

        def apply(_: object) -> None:
            file = str(machine.settings.system.values.get("ConfigurationFile") or "")
            root = str(machine.settings.system.values.get("ConfigurationDataRoot") or "")
            guids = self._take_checkpoints(machine, ntpath.join(root, file), folder)
            found = [setting_reference(VSSD, f"Microsoft:{guid}") for guid in guids]
            out["ImportedSnapshots"] = found
            for job in jobs:
                job.created.extend(found)

        return self._run(call, IMPORT_SNAPSHOTS, apply, out, jobs)

    def _run(
        self,
        call: MethodCall,
        kind: JobKind,
        apply: Callable[[object], None],
        out: dict[str, Value],
        jobs: list[Job],
    ) -> Reply:
        """Results are known only afterwards: with a job they are to be found through it."""
        seconds = self._site.config.timings.configure
        return self._site.conductor.run(
            call, Operation(kind, apply, seconds, out=out, on_job=jobs.append)
        )

    # Machines ------------------------------------------------------------------------------

    def _load(self, path: str, *, new_identity: bool) -> Machine:
        self._check_suffix(path)
        stored = read_machine(self._disks, path)
        reasons = []
        if stored.settings.version not in accepted_versions(self._site.profile):
            text = f"The configuration version {stored.settings.version} is not supported."
            reasons.append((VERSION, text))
        guid = self._site.dice.guid() if new_identity else stored.machine_id
        machines = self._here.machines
        if machines.get(guid) is not None or machines.get_planned(guid) is not None:
            reasons.append((EXISTS, f"A virtual machine with the ID {guid} exists (0x800700B7)."))
        if reasons:
            raise refusal(stored.name, stored.machine_id, self._site.name, reasons)
        settings = stored.settings
        if new_identity:
            settings = settings.renamed(guid, VirtualSystemIdentifier=guid)
        settings = self._at_home(settings, path)
        settings.set_system(VirtualSystemType=SYSTEM_TYPE_PLANNED)
        machine = dataclasses.replace(
            stored, machine_id=guid, settings=settings, planned=True, process_id=0, role=""
        )
        machine.script = self._scripts.for_name(machine.name)
        self._restore_state(machine, ntpath.dirname(path), stored.machine_id)
        return machine

    def _restore_state(self, machine: Machine, folder: str, guid: str) -> None:
        files = runtime_files(self._site.profile, folder, guid)
        saved = machine.state is PowerState.SAVED and all(
            self._disks.place(file).local.is_file() for file in files
        )
        machine.up_since = None
        machine.guest = None
        if saved:
            booted = self._site.timeline.now() - _BOOTED_AGO
            items = dict(machine.host_items)
            machine.guest = Guest(machine.script, machine.name, machine.seed, booted, items)
        else:
            machine.state = PowerState.OFF
            machine.up_before, machine.busy_before = timedelta(), 0.0
        machine.settings.set_system(IsSaved=saved)

    def _check_suffix(self, path: str) -> None:
        if ntpath.splitext(path)[1].lower() not in suffixes(self._site.profile):
            raise file_failure(
                "read the virtual machine configuration",
                path,
                "The file is of a kind that this release does not know.",
                Hresult.NOT_SUPPORTED,
            )

    def _at_home(self, settings: Configuration, path: str) -> Configuration:
        """Return settings in terms of this host, registered where their file lies."""
        root = ntpath.dirname(ntpath.dirname(path))
        beside = ntpath.join(root, DISKS)

        def found(disk: str) -> str:
            here = ntpath.join(beside, ntpath.basename(disk))
            return disk if self._is_file(disk) or not self._is_file(here) else here

        moved = on_host(with_files(settings, found), self._site.name)
        roots: dict[str, Value] = {name: root for name in FOLDERS if name in moved.system.values}
        relative = ntpath.join(ntpath.basename(ntpath.dirname(path)), ntpath.basename(path))
        moved.set_system(**roots, ConfigurationFile=relative)
        return plugged_in(moved, self._here.switches, {})[0]

    def _is_file(self, path: str) -> bool:
        try:
            return self._disks.place(path).local.is_file()
        except JobFailed:
            return False

    # Checkpoints ---------------------------------------------------------------------------

    def _take_checkpoints(self, machine: Machine, path: str, folder: str) -> list[str]:
        """Read the checkpoints of a folder that belong to a machine; return their GUIDs."""
        place = self._disks.place(folder, "open the snapshot folder")
        if not place.local.is_dir():
            raise file_failure(
                "open the snapshot folder",
                folder,
                "The system cannot find the path specified.",
                Hresult.PATH_NOT_FOUND,
            )
        owner = ntpath.splitext(ntpath.basename(path))[0].upper()
        taken: list[str] = []
        for file in sorted(place.local.iterdir()):
            if file.suffix.lower() not in suffixes(self._site.profile):
                continue
            stored = read_checkpoint(self._disks, ntpath.join(folder, file.name))
            if stored.machine_id != owner:
                continue
            checkpoint = self._checkpoint_here(machine, stored.checkpoint, path)
            machine.checkpoints[checkpoint.settings.guid] = checkpoint
            taken.append(checkpoint.settings.guid)
        self._mend_tree(machine)
        return taken

    def _checkpoint_here(self, machine: Machine, stored: Checkpoint, path: str) -> Checkpoint:
        settings = stored.settings
        if self._here.machines.owner_of(f"Microsoft:{settings.guid}") is not None:
            raise JobFailed(
                ReturnCode.FAILED,
                f"A checkpoint with the ID {settings.guid} exists (0x800700B7).",
                0x800700B7,
            )
        settings = self._at_home(settings, path)
        settings.set_system(
            VirtualSystemIdentifier=machine.machine_id,
            ConfigurationFile=f"{SNAPSHOTS}\\{settings.guid}{ntpath.splitext(path)[1]}",
        )
        return dataclasses.replace(stored, settings=settings)

    def _mend_tree(self, machine: Machine) -> None:
        """Forget parents that were not imported."""
        known = machine.checkpoints
        for checkpoint in known.values():
            if checkpoint.parent not in known:
                checkpoint.parent = ""
                checkpoint.settings.set_system(Parent=None)
        if machine.current_checkpoint not in known:
            machine.current_checkpoint = ""
            machine.settings.set_system(Parent=None)

    # Looking into files --------------------------------------------------------------------

    def summarize(self, call: MethodCall) -> MethodReply:
        """Say what is in definition files, without importing them."""
        paths = call.arguments.get("DefinitionFiles")
        if not isinstance(paths, list | tuple) or not paths:
            raise invalid_parameter("DefinitionFiles is empty")
        rows = list(self._summaries([str(path) for path in paths]))
        return MethodReply(ReturnCode.COMPLETED, {"SummaryInformation": rows})

    def _summaries(self, paths: list[str]) -> Iterator[Row]:
        for path in paths:
            self._check_suffix(path)
            machine = read_machine(self._disks, path)
            values: dict[str, Value] = {
                "InstanceID": f"Microsoft:{machine.machine_id}",
                "Name": machine.machine_id,
                "ElementName": machine.name,
                "CreationTime": machine.settings.system.values.get("CreationTime"),
                "Notes": "\n".join(strings(machine.settings.system.values, "Notes")),
                "NumberOfProcessors": number(
                    machine.settings.first(catalogue.PROCESSOR).values, "VirtualQuantity"
                ),
            }
            if self._site.profile.is_2016_or_newer:
                values["Version"] = machine.settings.version
            yield Row(_SUMMARY, values)


def _folder(call: MethodCall) -> str:
    value = call.arguments.get("SnapshotFolder")
    return value if isinstance(value, str) else ""
