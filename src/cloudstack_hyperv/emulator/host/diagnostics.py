"""Small questions to the management service: error texts, and space for a saved state.

Source: Microsoft's pages FormatError and GetSizeOfSystemFiles.
"""

from __future__ import annotations

from collections.abc import Callable

from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.arguments import instances, reference
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.outcome import invalid_parameter
from cloudstack_hyperv.emulator.host.site import number, text

_MIB = 2**20
_CONFIGURATION_BYTES = 128 * 1024


class Diagnostics:
    """Those methods for one host."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    @property
    def methods(self) -> dict[str, Callable[[MethodCall], MethodReply]]:
        """Methods by name."""
        return {"FormatError": self.format_error, "GetSizeOfSystemFiles": self.size_of_files}

    def format_error(self, call: MethodCall) -> MethodReply:
        """Return one text for a list of errors, outermost first."""
        errors = instances(call, "Errors")
        if not errors or any(row.class_name != "Msvm_Error" for row in errors):
            raise invalid_parameter("Errors holds Msvm_Error instances")
        message = "\n\n".join(text(row.values, "Message") for row in errors)
        return MethodReply(ReturnCode.COMPLETED, {"ErrorMessage": message})

    def size_of_files(self, call: MethodCall) -> MethodReply:
        """Return the bytes of configuration, and of memory where it is saved."""
        path = reference(call, "Vssd")
        owner = self._machines.owner_of(path.key("InstanceID") or "")
        if owner is None:
            raise invalid_parameter("Vssd names no settings of this host")
        settings = owner[1]
        saved = settings.system.values.get("IsSaved") is True
        memory = number(settings.first(catalogue.MEMORY).values, "VirtualQuantity")
        size = _CONFIGURATION_BYTES + (memory * _MIB if saved else 0)
        return MethodReply(ReturnCode.COMPLETED, {"Size": size})
