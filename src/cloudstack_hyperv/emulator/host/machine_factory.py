"""New machines from what a client says of them in DefineSystem's SystemSettings.

Source: Microsoft's pages DefineSystem and Msvm_VirtualSystemSettingData (what can only be set
here: generation, version, folders).
"""

from __future__ import annotations

from cloudstack_hyperv.cim.constants import GENERATION_1, GENERATION_2, ReturnCode
from cloudstack_hyperv.emulator.cim.provider import Value
from cloudstack_hyperv.emulator.host.configuration import Configuration, new_configuration
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.outcome import Refused, invalid_parameter
from cloudstack_hyperv.emulator.host.scripts import GuestScripts
from cloudstack_hyperv.emulator.host.site import Site, text
from cloudstack_hyperv.emulator.host.system_settings import AT_DEFINITION, check_name, checked

_FOLDERS = ("ConfigurationDataRoot", "SnapshotDataRoot", "SwapFileDataRoot", "SuspendDataRoot")
_SETTABLE = frozenset({"Notes", "HighMmioGapBase", "EnableHibernation", "TurnOffOnGuestRestart"})


class MachineFactory:
    """Makes machines for one host."""

    def __init__(self, site: Site, scripts: GuestScripts) -> None:
        self._site = site
        self._scripts = scripts

    def new_machine(self, wanted: dict[str, Value]) -> Machine:
        """Return a machine that is not in the table yet; refuses what cannot be."""
        profile = self._site.profile
        sub_type = text(wanted, "VirtualSystemSubType") or GENERATION_1
        if sub_type not in (GENERATION_1, GENERATION_2):
            raise invalid_parameter(f"VirtualSystemSubType {sub_type!r} is unknown")
        if sub_type == GENERATION_2 and not profile.has_generation_2:
            raise invalid_parameter("this release has no generation 2")
        version = text(wanted, "Version") or profile.default_configuration
        if version not in profile.configurations:
            raise Refused(ReturnCode.NOT_SUPPORTED, f"configuration version {version}")
        name = wanted.get("ElementName")
        if name is None:
            name = "New Virtual Machine"
        check_name(name)
        guid = self._site.dice.guid()
        settings = new_configuration(self._site, guid, str(name), sub_type, version)
        self._apply_system(settings, wanted)
        script = self._scripts.for_name(str(name))
        now = self._site.timeline.now()
        return Machine(guid, settings, now, config_changed=now, script=script)

    def _apply_system(self, settings: Configuration, wanted: dict[str, Value]) -> None:
        chosen: dict[str, Value] = {}
        for name, value in wanted.items():
            if value is None or name == "ElementName":
                continue
            if name in _FOLDERS:
                chosen[name] = value
            elif name not in AT_DEFINITION:
                if name not in settings.system.values and name not in _SETTABLE:
                    raise invalid_parameter(f"{name} cannot be set")
                chosen[name] = checked(self._site, settings, name, value)
        if "ConfigurationDataRoot" in chosen:
            for folder in _FOLDERS[1:]:
                chosen.setdefault(folder, chosen["ConfigurationDataRoot"])
            chosen["LogDataRoot"] = chosen["ConfigurationDataRoot"]
            if "GuestStateDataRoot" in settings.system.values:
                chosen["GuestStateDataRoot"] = chosen["ConfigurationDataRoot"]
        settings.set_system(**chosen)
