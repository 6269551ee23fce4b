"""Classes of machines: systems, settings, resources, devices of running ones, and their methods."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping

from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.arguments import flag, integer
from cloudstack_hyperv.emulator.host.configuration import VSSD
from cloudstack_hyperv.emulator.host.console import Console
from cloudstack_hyperv.emulator.host.definitions import Definitions
from cloudstack_hyperv.emulator.host.features import features_of
from cloudstack_hyperv.emulator.host.jobs import JobBoard, error_row, error_rows
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.outcome import invalid_state
from cloudstack_hyperv.emulator.host.power import Power
from cloudstack_hyperv.emulator.host.resource_pools import ResourcePools
from cloudstack_hyperv.emulator.host.serving import (
    ClassTable,
    Finder,
    RowSource,
    find_by_keys,
    no_rows,
)
from cloudstack_hyperv.emulator.host.site import Site, text
from cloudstack_hyperv.emulator.host.switch_rows import SwitchRows
from cloudstack_hyperv.emulator.host.system_rows import SYSTEM, SystemRows

_JOB_TERMINATE, _JOB_KILL = 4, 5
_JOB_INVALID_PARAMETER = 5
_COMPONENTS = (
    "Msvm_ShutdownComponent",
    "Msvm_KvpExchangeComponent",
    "Msvm_HeartbeatComponent",
    "Msvm_GuestServiceInterfaceComponent",
)

Reply = MethodReply | Awaitable[MethodReply]


class MachineClasses:
    """Registers what machines show."""

    def __init__(
        self,
        site: Site,
        machines: Machines,
        power: Power,
        console: Console,
        systems: SystemRows,
        network: SwitchRows,
        definitions: Definitions,
        pools: ResourcePools,
    ) -> None:
        self._site = site
        self._machines = machines
        self._power = power
        self._console = console
        self._systems = systems
        self._network = network
        self._definitions = definitions
        self._pools = pools

    def register(self, table: ClassTable) -> None:
        """Put the classes into the host's table."""
        self._register_settings(table)
        self._register_devices(table)
        self._register_jobs(table)

    def _register_settings(self, table: ClassTable) -> None:
        systems, profile = self._systems, self._site.profile
        table.serve(
            SYSTEM,
            systems.systems,
            find=systems.find_system,
            methods={"RequestStateChange": self._request_state},
        )
        table.serve(VSSD, self._settings, find=self._find_setting)
        for class_name in dict.fromkeys(kind.class_name for kind in catalogue.KINDS):
            if class_name != catalogue.CONNECTION and self._exists(class_name):
                table.serve(class_name, self._resources(class_name), find=self._finder(class_name))
        table.serve(
            catalogue.CONNECTION,
            self._connections,
            find=lambda keys: self._find_with_switches(catalogue.CONNECTION, keys),
        )
        for kind in features_of(profile):
            table.serve(
                kind.class_name,
                self._features(kind.class_name),
                find=self._feature_finder(kind.class_name),
            )
        if profile.is_2016_or_newer:
            table.serve("Msvm_SecuritySettingData", systems.security)
        if profile.has_generation_2:
            table.serve("Msvm_BootSourceSettingData", systems.boot_sources)
        table.serve("Msvm_GuestNetworkAdapterConfiguration", systems.guest_networks)

    def _settings(self) -> Iterator[Row]:
        yield from self._systems.settings()
        yield from self._pools.system_definitions()

    def _find_setting(self, keys: Mapping[str, str]) -> Row | None:
        return self._systems.find_setting(keys) or find_by_keys(
            self._pools.system_definitions(), keys
        )

    def _exists(self, class_name: str) -> bool:
        profile = self._site.profile
        if class_name in (catalogue.SERIAL, catalogue.DISPLAY):
            return profile.is_2016_or_newer
        if class_name == "Msvm_GuestServiceInterfaceComponentSettingData":
            return profile.is_2012_r2_or_newer
        return True

    def _resources(self, class_name: str) -> RowSource:
        def rows() -> Iterator[Row]:
            yield from self._systems.resources(class_name)
            yield from self._definitions.rows(class_name)

        return rows

    def _finder(self, class_name: str) -> Finder:
        return lambda keys: (
            self._systems.find_resource(class_name, keys)
            or self._definitions.find(class_name, keys)
        )

    def _connections(self) -> Iterator[Row]:
        yield from self._network.own_connections()
        yield from self._systems.resources(catalogue.CONNECTION)
        yield from self._definitions.rows(catalogue.CONNECTION)

    def _find_with_switches(self, class_name: str, keys: Mapping[str, str]) -> Row | None:
        row = self._systems.find_resource(class_name, keys)
        if row is None:
            row = self._network.find(class_name, keys)
        return row if row is not None else self._definitions.find(class_name, keys)

    def _features(self, class_name: str) -> RowSource:
        def rows() -> Iterator[Row]:
            yield from self._network.own_features(class_name)
            yield from self._systems.features(class_name)
            yield from self._definitions.rows(class_name)

        return rows

    def _feature_finder(self, class_name: str) -> Finder:
        return lambda keys: self._find_with_switches(class_name, keys)

    # Devices -------------------------------------------------------------------------------

    def _register_devices(self, table: ClassTable) -> None:
        systems = self._systems
        table.serve(
            "Msvm_Keyboard",
            self._devices(systems.keyboard),
            methods=self._console.keyboard_methods,
        )
        table.serve("Msvm_VideoHead", self._devices(systems.video_head))
        table.serve("Msvm_SyntheticDisplayController", self._devices(systems.display_controller))
        table.serve("Msvm_S3DisplayController", no_rows)
        table.serve("Msvm_Processor", self._devices(systems.processors))
        table.serve("Msvm_Memory", self._devices(systems.memory))
        for class_name in _COMPONENTS:
            methods = self._shutdown_methods if class_name == "Msvm_ShutdownComponent" else {}
            table.serve(class_name, self._components(class_name), methods=methods)

    def _devices(self, make: Callable[[Machine], Iterator[Row]]) -> RowSource:
        return lambda: self._systems.devices(make)

    def _components(self, class_name: str) -> RowSource:
        return lambda: self._systems.devices(
            lambda machine: self._systems.component(machine, class_name)
        )

    @property
    def _shutdown_methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        return {
            "InitiateShutdown": lambda call: self._initiate(call, reboot=False),
            "InitiateReboot": lambda call: self._initiate(call, reboot=True),
        }

    def _initiate(self, call: MethodCall, *, reboot: bool) -> Reply:
        target = call.target
        machine = self._machines.get(text(target.values, "SystemName")) if target else None
        if machine is None:
            raise invalid_state("no virtual machine")
        code = self._power.initiate(machine, force=flag(call, "Force"), reboot=reboot)
        return MethodReply(code)

    def _request_state(self, call: MethodCall) -> Reply:
        target = call.target
        machine = self._machines.get(text(target.values, "Name")) if target else None
        if machine is None:
            raise invalid_state("the host itself has no power state to change")
        return self._power.request(call, machine)

    # Jobs ----------------------------------------------------------------------------------

    def _register_jobs(self, table: ClassTable) -> None:
        for class_name in ("Msvm_ConcreteJob", "Msvm_StorageJob", "Msvm_MigrationJob"):
            table.serve(
                class_name,
                self._jobs(class_name),
                find=self._job_finder(class_name),
                methods={
                    "RequestStateChange": self._change_job,
                    "GetError": self._get_error,
                    "GetErrorEx": self._get_errors,
                },
            )

    @property
    def _board(self) -> JobBoard:
        return self._site.board

    def _jobs(self, class_name: str) -> RowSource:
        return lambda: (self._board.row(job) for job in self._board.of_class(class_name))

    def _job_finder(self, class_name: str) -> Finder:
        def find(keys: Mapping[str, str]) -> Row | None:
            job = self._board.get(next(iter(keys.values()), ""))
            if job is None or job.kind.class_name != class_name:
                return None
            return self._board.row(job)

        return find

    def _change_job(self, call: MethodCall) -> Reply:
        job = self._board.get(text(call.target.values, "InstanceID")) if call.target else None
        wanted = integer(call, "RequestedState", 0)
        if job is None or wanted not in (_JOB_TERMINATE, _JOB_KILL):
            return MethodReply(_JOB_INVALID_PARAMETER)
        return MethodReply(self._board.cancel(job, kill=wanted == _JOB_KILL))

    def _get_error(self, call: MethodCall) -> Reply:
        job = self._board.get(text(call.target.values, "InstanceID")) if call.target else None
        if job is None or not job.error_code:
            return MethodReply(ReturnCode.COMPLETED)
        return MethodReply(ReturnCode.COMPLETED, {"Error": error_row(job)})

    def _get_errors(self, call: MethodCall) -> Reply:
        job = self._board.get(text(call.target.values, "InstanceID")) if call.target else None
        if job is None or not job.error_code:
            return MethodReply(ReturnCode.COMPLETED)
        return MethodReply(ReturnCode.COMPLETED, {"Errors": error_rows(job)})
