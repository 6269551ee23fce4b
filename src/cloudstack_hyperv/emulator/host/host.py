"""A whole emulated Hyper-V host: puts the subjects together and serves their classes.

Subjects know a `Site` and each other as their constructors say; here is the only place that knows
all of them, and the table of which class comes from where.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cloudstack_hyperv.cim.constants import (
    NAMESPACE_CIMV2,
    NAMESPACE_SMB,
    NAMESPACE_STANDARDCIMV2,
    NAMESPACE_STORAGE,
    NAMESPACE_VIRTUALIZATION,
)
from cloudstack_hyperv.emulator.cim.provider import Provider
from cloudstack_hyperv.emulator.host.access import Access
from cloudstack_hyperv.emulator.host.adapters import Adapters
from cloudstack_hyperv.emulator.host.associations import Associations
from cloudstack_hyperv.emulator.host.change_tracking import ChangeTracking
from cloudstack_hyperv.emulator.host.checkpoints import Checkpoints
from cloudstack_hyperv.emulator.host.clock import Clock, SystemClock, Timeline
from cloudstack_hyperv.emulator.host.config import GuestScript, HostConfig
from cloudstack_hyperv.emulator.host.connections import PortFeatures
from cloudstack_hyperv.emulator.host.console import Console
from cloudstack_hyperv.emulator.host.definition import Definition
from cloudstack_hyperv.emulator.host.definitions import Definitions
from cloudstack_hyperv.emulator.host.diagnostics import Diagnostics
from cloudstack_hyperv.emulator.host.disk_chains import ChainWork
from cloudstack_hyperv.emulator.host.disk_work import DiskWork
from cloudstack_hyperv.emulator.host.disks import HostDisks
from cloudstack_hyperv.emulator.host.export import Export
from cloudstack_hyperv.emulator.host.fabric import Fabric
from cloudstack_hyperv.emulator.host.file_classes import FileClasses
from cloudstack_hyperv.emulator.host.files import HostFiles
from cloudstack_hyperv.emulator.host.guest_services import GuestServices
from cloudstack_hyperv.emulator.host.host_associations import HostAssociations
from cloudstack_hyperv.emulator.host.host_classes import HostClasses, merged
from cloudstack_hyperv.emulator.host.host_disks import HostDiskRows
from cloudstack_hyperv.emulator.host.images import MOUNTED, Images
from cloudstack_hyperv.emulator.host.importing import Import
from cloudstack_hyperv.emulator.host.inventory import Inventory
from cloudstack_hyperv.emulator.host.jobs import JobBoard
from cloudstack_hyperv.emulator.host.kvp import KeyValueExchange
from cloudstack_hyperv.emulator.host.lifecycle import Lifecycle
from cloudstack_hyperv.emulator.host.machine_classes import MachineClasses
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.metrics import Metrics
from cloudstack_hyperv.emulator.host.migration import Migration
from cloudstack_hyperv.emulator.host.migration_settings import MigrationSettings
from cloudstack_hyperv.emulator.host.operation import Conductor
from cloudstack_hyperv.emulator.host.peers import Peer, Peers
from cloudstack_hyperv.emulator.host.performance import Performance
from cloudstack_hyperv.emulator.host.persistence import StateStore
from cloudstack_hyperv.emulator.host.planned import PlannedSystems
from cloudstack_hyperv.emulator.host.power import Power
from cloudstack_hyperv.emulator.host.processes import Processes
from cloudstack_hyperv.emulator.host.profiles import PROFILES
from cloudstack_hyperv.emulator.host.reference_points import ReferencePoints
from cloudstack_hyperv.emulator.host.release_schema import release_schema
from cloudstack_hyperv.emulator.host.resource_pools import ResourcePools
from cloudstack_hyperv.emulator.host.scripts import GuestScripts
from cloudstack_hyperv.emulator.host.services import Services
from cloudstack_hyperv.emulator.host.serving import ClassTable
from cloudstack_hyperv.emulator.host.site import Dice, Site
from cloudstack_hyperv.emulator.host.smb_mappings import SmbMappings
from cloudstack_hyperv.emulator.host.storage_rows import StorageRows
from cloudstack_hyperv.emulator.host.summary import Summary
from cloudstack_hyperv.emulator.host.switch_rows import SwitchRows
from cloudstack_hyperv.emulator.host.switch_service import SwitchService
from cloudstack_hyperv.emulator.host.switches import Switches
from cloudstack_hyperv.emulator.host.system_rows import SystemRows

_ALWAYS_THERE = frozenset(
    {
        NAMESPACE_VIRTUALIZATION,
        NAMESPACE_CIMV2,
        NAMESPACE_STANDARDCIMV2,
        NAMESPACE_STORAGE,
        NAMESPACE_SMB,
        "root/interop",
    }
)

_SEED_STEP = 1_000_003
"""So that a host that starts again does not make the GUIDs of its last run once more."""


class EmulatedHost:
    """One emulated host; a `ProviderHost`.  `close` it when it is no longer needed."""

    def __init__(
        self, config: HostConfig, clock: Clock | None = None, peers: Peers | None = None
    ) -> None:
        """Build a host on its folder, which reaches `peers`; KeyError for an unknown release."""
        self.config = config
        profile = PROFILES[config.release]
        self.timeline = Timeline(clock or SystemClock())
        store = StateStore(config.folder)
        state = store.load_host()
        dice = Dice(config.seed + state.boots * _SEED_STEP)
        state.boots += 1
        board = JobBoard(self.timeline, dice.guid, config.timings.job_removal)
        files = HostFiles(config.folder, config.drives, config.shares, config.volumes)
        network = peers or Peers()
        files.share_holds(network.held, config.name.upper())
        self.site = Site(
            config,
            profile,
            self.timeline,
            dice,
            board,
            Conductor(board, config.job_mode, dice.random),
            files,
            release_schema(config.release),
            self.timeline.now(),
        )
        self.disks = HostDisks(files, self.site.computer_account)
        self.machines = Machines()
        self.switches = Switches(self.site)
        self.scripts = GuestScripts(config.guest)
        self.services = Services(self.site)
        self.migration_settings = MigrationSettings(self.site, self.services)
        self.power = Power(self.site, self.machines, self.switches, self.disks)
        disk_work = DiskWork(self.disks)
        self.images = Images(self.site, self.disks, disk_work)
        chains = ChainWork(self.disks, disk_work)
        self.checkpoints = Checkpoints(self.site, self.machines, self.power, chains)
        self.definition = Definition(
            self.site,
            self.machines,
            self.switches,
            self.disks,
            self.power,
            self.scripts,
            self.checkpoints,
            chains,
        )
        self.peer = Peer(
            self.site,
            self.machines,
            self.switches,
            self.disks,
            self.power,
            self.definition,
            self.migration_settings,
        )
        network.join(self.peer)
        self.migration = Migration(self.peer, network)
        self.planned = PlannedSystems(self.peer)
        self.export = Export(self.peer)
        self.importing = Import(self.peer, self.planned, self.scripts)
        self.port_features = PortFeatures(self.site, self.machines, self.switches)
        self.exchange = KeyValueExchange(self.site, self.machines)
        self.console = Console(self.site, self.machines)
        self.inventory = Inventory(self.site, self.machines)
        self.adapters = Adapters(self.site, self.switches)
        self.switch_rows = SwitchRows(self.site, self.machines, self.switches)
        self.fabric = Fabric(self.site, self.machines, self.switches, self.switch_rows)
        self.performance = Performance(
            self.site, self.machines, self.adapters, self.inventory, self.fabric
        )
        self.power.resetting_counters.append(self.performance.account)
        self.switch_service = SwitchService(self.site, self.machines, self.switches)
        self.metrics = Metrics(self.site, self.machines, self.fabric)
        self.access = Access(self.site, self.machines)
        self.definitions = Definitions(profile)
        self.pools = ResourcePools(self.site, self.machines, self.services)
        self.table = ClassTable(self.timeline, self.site.schema)
        self._make_folders()
        self._lifecycle = Lifecycle(
            self.site,
            store,
            state,
            self.machines,
            self.switches,
            self.services,
            self.power,
            self.disks,
            self.scripts,
        )
        self._lifecycle.start()
        self._serve()

    def _make_folders(self) -> None:
        for folder in (self.config.disk_folder, self.config.machine_folder):
            self.site.files.locate(folder).local.mkdir(parents=True, exist_ok=True)

    # ProviderHost --------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """NetBIOS name, upper case."""
        return self.site.name

    @property
    def release(self) -> str:
        """Profile name."""
        return self.config.release

    @property
    def namespaces(self) -> frozenset[str]:
        """Namespaces that exist on this host."""
        return _ALWAYS_THERE | self.table.namespaces

    def provider(self, namespace: str, class_name: str) -> Provider | None:
        """Return the provider of a class, None if this host has no instances of it."""
        return self.table.get(namespace, class_name)

    def now(self) -> datetime:
        """Return the host's time."""
        return self.timeline.now()

    def close(self, *, keep_running: bool = False) -> None:
        """Write the state down and end the threads of the image service.

        A host made on the same folder later finds its machines off, as after a reboot, unless
        `keep_running`.
        """
        self.site.conductor.close()
        self._lifecycle.stop(keep_running=keep_running)

    def restart_management_service(self) -> None:
        """Lose all jobs, as when VMMS restarts; machines run on."""
        self._lifecycle.restart_management_service()

    def reboot(self) -> None:
        """Restart the host: machines lose power; those that start automatically do."""
        self._lifecycle.reboot()

    def unmodelled_methods(self) -> list[tuple[str, str, str]]:
        """Return (namespace, class, method) of what the schema declares and nothing stands behind.

        In the Hyper-V namespace they answer 32770, elsewhere "provider is not capable".
        """
        return sorted(
            (served.namespace, served.class_name, method)
            for served in self.table
            for method in self.site.schema.methods(served.class_name, served.namespace)
            if method.lower() not in served.modelled_methods
        )

    # For tests and tools -------------------------------------------------------------------

    def play(self, pattern: str, script: GuestScript) -> None:
        """Play `script` in machines whose names match; those that exist take it at next start."""
        self.scripts.play(pattern, script)
        for machine in self.machines:
            machine.script = self.scripts.for_name(machine.name)

    def local_path(self, windows: str) -> Path:
        """Return the file of a Windows path."""
        return self.site.files.locate(windows).local

    def _serve(self) -> None:
        systems = SystemRows(self.site, self.machines, self.exchange)
        network = self.switch_rows
        summary = Summary(self.site, self.machines, self.console)
        MachineClasses(
            self.site,
            self.machines,
            self.power,
            self.console,
            systems,
            network,
            self.definitions,
            self.pools,
        ).register(self.table)
        service_settings = self.services.methods()
        guest_services = GuestServices(self.site, self.machines, self.disks, systems)
        guest_services.register(self.table)
        tracking = ChangeTracking(self.disks)
        reference_points = ReferencePoints(self.site, self.machines, tracking)
        if self.site.profile.is_2016_or_newer:
            reference_points.register(self.table)
        HostClasses(
            self.services, network, self.inventory, self.adapters, self.performance
        ).register(
            self.table,
            {
                "Msvm_VirtualSystemManagementService": merged(
                    self.definition.methods,
                    self.planned.methods,
                    self.export.methods,
                    self.importing.methods,
                    self.port_features.methods,
                    self.exchange.methods,
                    guest_services.methods,
                    self.console.service_methods,
                    {"GetSummaryInformation": summary.get},
                    Diagnostics(self.machines).methods,
                    service_settings["Msvm_VirtualSystemManagementService"],
                ),
                "Msvm_ImageManagementService": merged(
                    self.images.methods, {"GetVirtualDiskChanges": tracking.changes}
                ),
                "Msvm_VirtualSystemReferencePointService": merged(reference_points.methods),
                "Msvm_VirtualSystemSnapshotService": merged(self.checkpoints.methods),
                "Msvm_VirtualEthernetSwitchManagementService": merged(self.switch_service.methods),
                "Msvm_TerminalService": merged(self.access.terminal_methods),
                "Msvm_SecurityService": merged(self.access.security_methods),
                "Msvm_MetricService": merged(
                    self.metrics.methods, service_settings["Msvm_MetricService"]
                ),
                "Msvm_VirtualSystemMigrationService": merged(
                    self.migration_settings.methods, self.migration.methods
                ),
            },
        )
        self.migration_settings.register(self.table)
        self.planned.register(self.table)
        self.export.register(self.table)
        Associations(
            self.site,
            self.machines,
            self.switches,
            systems,
            network,
            self.services,
        ).register(self.table)
        HostAssociations(self.site, self.machines, network, self.services, self.inventory).register(
            self.table
        )
        self.table.serve(
            MOUNTED, self.images.mounted, methods={"DetachVirtualHardDisk": self.images.detach}
        )
        self.pools.register(self.table)
        self.metrics.register(self.table)
        host_disks = HostDiskRows(self.site)
        host_disks.register(self.table)
        StorageRows(self.site, self.inventory, self.images.mounted, host_disks).register(self.table)
        SmbMappings(self.site).register(self.table)
        Processes(self.site, self.machines).register(self.table)
        FileClasses(self.site).register(self.table)
