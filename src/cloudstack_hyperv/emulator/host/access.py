"""Who may open a machine's console, and its security settings.

Sources: Microsoft's pages Msvm_TerminalService (Grant-, Revoke-, GetInteractiveSessionACL),
Msvm_SecurityService.ModifySecuritySettings.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row
from cloudstack_hyperv.emulator.host.arguments import instance
from cloudstack_hyperv.emulator.host.jobs import JobKind
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.operation import Operation
from cloudstack_hyperv.emulator.host.outcome import invalid_parameter, invalid_state
from cloudstack_hyperv.emulator.host.profiles import configuration_at_least
from cloudstack_hyperv.emulator.host.site import Site, machine_reference, text

_JOB = JobKind.concrete(2, "Modifying Virtual Machine")
_SECURITY_CHANGES = frozenset(
    {
        "TpmEnabled",
        "ShieldingRequested",
        "EncryptStateAndVmMigrationTraffic",
        "VirtualizationBasedSecurityOptOut",
        "KsdEnabled",
        "DataProtectionRequested",
    }
)

Reply = MethodReply | Awaitable[MethodReply]


class Access:
    """Console access and security of machines."""

    def __init__(self, site: Site, machines: Machines) -> None:
        self._site = site
        self._machines = machines

    @property
    def terminal_methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        """Methods of Msvm_TerminalService."""
        return {
            "GrantInteractiveSessionAccess": self.grant,
            "RevokeInteractiveSessionAccess": self.revoke,
            "GetInteractiveSessionACL": self.show,
        }

    @property
    def security_methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        """Methods of Msvm_SecurityService."""
        return {"ModifySecuritySettings": self.modify_security}

    def _trustees(self, call: MethodCall) -> list[str]:
        value = call.arguments.get("Trustees")
        names = [str(item) for item in value] if isinstance(value, list | tuple) else []
        if not names or any(not name.strip() for name in names):
            raise invalid_parameter("Trustees is empty")
        return names

    def grant(self, call: MethodCall) -> Reply:
        """Let accounts open a machine's console."""
        machine = self._machines.referenced(call, "ComputerSystem")
        names = self._trustees(call)
        return self._change(call, machine, lambda: machine.trustees.update(names))

    def revoke(self, call: MethodCall) -> Reply:
        """Take that right away."""
        machine = self._machines.referenced(call, "ComputerSystem")
        doomed = {name.lower() for name in self._trustees(call)}
        if doomed - {name.lower() for name in machine.trustees}:
            raise invalid_parameter("a trustee has no access")

        def apply() -> None:
            machine.trustees -= {n for n in machine.trustees if n.lower() in doomed}

        return self._change(call, machine, apply)

    def show(self, call: MethodCall) -> Reply:
        """Return who may open the console."""
        machine = self._machines.referenced(call, "ComputerSystem")
        entries = [
            Row("Msvm_InteractiveSessionACE", {"Trustee": name, "AccessType": 0})
            for name in sorted(machine.trustees)
        ]
        return MethodReply(ReturnCode.COMPLETED, {"AccessControlList": entries})

    def modify_security(self, call: MethodCall) -> Reply:
        """Change a machine's security settings."""
        request = instance(call, "SecuritySettingData")
        owner = self._machines.owner_of(text(request.values, "InstanceID"))
        if owner is None or owner[1].security is None or owner[1] is not owner[0].settings:
            raise invalid_parameter("SecuritySettingData names no machine's settings")
        machine, settings = owner
        if not machine.is_off:
            raise invalid_state(f"{machine.name} is {machine.state.value}")
        current = owner[1].security
        changed = {
            name: value
            for name, value in request.values.items()
            if name != "InstanceID" and value is not None and value != current.values.get(name)
        }
        if set(changed) - _SECURITY_CHANGES:
            raise invalid_parameter("read-only security settings differ")
        if changed.get("TpmEnabled") and (
            settings.generation == 1 or not configuration_at_least(settings.version, "7.0")
        ):
            raise invalid_parameter("a virtual TPM needs generation 2 and version 7.0")

        def apply() -> None:
            machine.settings.security = Row(current.class_name, {**current.values, **changed})

        return self._change(call, machine, apply)

    def _change(self, call: MethodCall, machine: Machine, change: Callable[[], object]) -> Reply:
        def apply(_: object) -> None:
            change()
            self._machines.announce(machine)

        return self._site.conductor.run(
            call,
            Operation(
                _JOB,
                apply,
                self._site.config.timings.configure,
                machine=machine,
                affected=(machine_reference(machine.machine_id),),
            ),
        )
