r"""The virtual machines of a host: finding one by name, reading state and ownership of many.

One method call (GetSummaryInformation) tells id, name, notes and state of any number of VMs, but
its answer is bounded by WinRM's envelope, and asking it for one VM by name is not possible.  A
query by name is bounded, but does not tell the state.  So: what we saw before (`MachineIndex`,
which every state report refreshes) leads to a summary of one VM, and only a name that we never
saw is queried for.

Two facts make a settings object addressable without looking: the active settings of a VM have the
InstanceID `Microsoft:<GUID>`, and a singleton service is addressed by its CreationClassName.

Names are compared exactly, after the host answered: WQL compares without letter case.
Source: Microsoft, "Msvm_VirtualSystemManagementService.GetSummaryInformation",
"Msvm_SummaryInformation", "Msvm_VirtualSystemSettingData".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from cloudstack_hyperv.cim import ObjectPath, Uint32
from cloudstack_hyperv.cim.constants import (
    SYSTEM_TYPE_REALIZED,
    EnabledState,
    ReturnCode,
    SummaryField,
)
from cloudstack_hyperv.hypervisor.errors import HypervisorError, MethodFailed, NotOurs, translated
from cloudstack_hyperv.hypervisor.ownership import (
    Ownership,
    is_instance_name,
    is_kept,
    read_ownership,
)
from cloudstack_hyperv.wsman import errors as wsman
from cloudstack_hyperv.wsman.api import CimClient, Instance
from cloudstack_hyperv.wsman.protocol.wql import Select, all_of, equals

_SERVICE_CLASS: Final = "Msvm_VirtualSystemManagementService"
MANAGEMENT_SERVICE: Final = ObjectPath.of(_SERVICE_CLASS, CreationClassName=_SERVICE_CLASS)
"""Msvm_VirtualSystemManagementService of the host that we talk to."""

SLICE: Final = 100
"""VMs in one summary when all at once do not fit into an answer."""

_FIELDS: Final = (
    SummaryField.NAME,
    SummaryField.ELEMENT_NAME,
    SummaryField.NOTES,
    SummaryField.ENABLED_STATE,
    SummaryField.HEALTH_STATE,
)


@dataclass(frozen=True, slots=True)
class Machine:
    """One realised VM as the host reports it."""

    guid: str
    """Msvm_ComputerSystem.Name."""
    element_name: str
    state: int
    """EnabledState."""
    ownership: Ownership | None
    health: int | None = None
    """HealthState; 25 is critical."""
    other_state: str | None = None
    """OtherEnabledState: what the state is while EnabledState is 1 (other)."""
    notes: str = ""
    """The whole Notes, an operator's text included."""
    checkpoints: int | None = None
    """How many checkpoints it has; None where all VMs were listed, which leaves this out."""

    @property
    def path(self) -> ObjectPath:
        """The Msvm_ComputerSystem."""
        return machine_path(self.guid)

    @property
    def settings_path(self) -> ObjectPath:
        """The active Msvm_VirtualSystemSettingData."""
        return settings_path(self.guid)

    @property
    def cloudstack_name(self) -> str:
        """The name CloudStack knows it by: that in the mark, whatever an operator renamed it to."""
        return self.ownership.name if self.ownership else self.element_name

    @property
    def is_kept(self) -> bool:
        """Whether CloudStack stopped it and its definition stays for its checkpoints only."""
        return (
            self.ownership is not None
            and self.state == EnabledState.DISABLED
            and is_kept(self.notes)
        )

    def goes_by(self, name: str) -> bool:
        """Whether this VM is meant by CloudStack's instance name."""
        return self.cloudstack_name == name or self.element_name == name


class MachineIndex:
    """Where VMs were last seen: instance name to VM GUIDs.  A hint, never a proof."""

    __slots__ = ("_guids",)

    def __init__(self) -> None:
        self._guids: dict[str, str] = {}

    def guid_of(self, name: str) -> str | None:
        """Return the GUID under which the VM was last seen."""
        return self._guids.get(name)

    def remember(self, name: str, guid: str) -> None:
        """Note where a VM of ours is."""
        self._guids[name] = guid

    def forget(self, name: str) -> None:
        """Drop what is known of a name."""
        self._guids.pop(name, None)

    def refresh(self, machines: Iterable[Machine]) -> None:
        """Replace everything by what a complete list says of the VMs that are ours."""
        self._guids = {
            machine.ownership.name: machine.guid for machine in machines if machine.ownership
        }

    def __len__(self) -> int:
        return len(self._guids)


@dataclass(frozen=True, slots=True)
class MachineDirectory:
    """Finds VMs on one host; keeps the index between commands."""

    client: CimClient
    index: MachineIndex = field(default_factory=MachineIndex)

    async def list_all(self) -> tuple[Machine, ...]:
        """Read all VMs: one round trip, a few more when the answer would be too large.

        Complete or an error; never a part.
        """
        with translated("list the VMs"):
            try:
                machines = await _summaries(self.client, None)
            except wsman.QuotaExceeded:
                machines = await self._list_in_slices()
        self.index.refresh(machines)
        return machines

    async def find(self, name: str, *, search: bool = False) -> Machine | None:
        """Return the VM that CloudStack calls `name`, None if there is none.

        Ours come first; a VM without our mark is returned too, so that the caller can refuse it.
        `search` asks the host for VMs of that name even if the index knows one.  Raises NotOurs
        when several VMs claim to be it.
        """
        if not is_instance_name(name):
            raise NotOurs(f"{name[:100]!r} cannot be the name of a VM made by CloudStack")
        with translated(f"find VM {name}"):
            known = self.index.guid_of(name)
            guids = [known] if known else []
            if search or not known:
                guids += [g for g in await self._guids_named(name) if g not in guids]
            found = await self._read(guids, name)
            if not found and known and not search:
                self.index.forget(name)
                found = await self._read(await self._guids_named(name), name)
        machine = _the_one(found, name)
        if machine is not None and machine.ownership and machine.ownership.name == name:
            self.index.remember(name, machine.guid)
        else:
            self.index.forget(name)
        return machine

    async def _read(self, guids: Sequence[str], name: str) -> list[Machine]:
        if not guids:
            return []
        try:
            machines = await _summaries(self.client, guids)
        except (wsman.NotFound, MethodFailed):
            # One of several may be gone since; ask one by one, what then fails is not there.
            machines = tuple([machine for guid in guids for machine in await self._read_one(guid)])
        return [machine for machine in machines if machine.goes_by(name)]

    async def _read_one(self, guid: str) -> tuple[Machine, ...]:
        try:
            await self.client.get(machine_path(guid))
        except wsman.NotFound:
            return ()
        return await _summaries(self.client, [guid])

    async def _guids_named(self, name: str) -> list[str]:
        rows = await self.client.query(
            Select(
                "Msvm_VirtualSystemSettingData",
                where=all_of(
                    (
                        equals("ElementName", name),
                        equals("VirtualSystemType", SYSTEM_TYPE_REALIZED),
                    )
                ),
                properties=("InstanceID", "ElementName", "VirtualSystemIdentifier"),
            )
        )
        return [
            row.require("VirtualSystemIdentifier")
            for row in rows
            if row.string("ElementName") == name
        ]

    async def _list_in_slices(self) -> tuple[Machine, ...]:
        rows = await self.client.query(
            Select(
                "Msvm_VirtualSystemSettingData",
                where=equals("VirtualSystemType", SYSTEM_TYPE_REALIZED),
                properties=("InstanceID", "VirtualSystemIdentifier"),
            )
        )
        guids = [row.require("VirtualSystemIdentifier") for row in rows]
        slices = [guids[start : start + SLICE] for start in range(0, len(guids), SLICE)]
        parts = await asyncio.gather(*(_summaries(self.client, part) for part in slices))
        return tuple(machine for part in parts for machine in part)


def require_ours(machine: Machine, name: str) -> Ownership:
    """Return the VM's mark; raises NotOurs when CloudStack did not make it."""
    if machine.ownership is None or machine.ownership.name != name:
        raise NotOurs(
            f"VM {name} ({machine.guid}) was not made by CloudStack: its Notes lack the line that "
            "says so; it is left alone"
        )
    return machine.ownership


def machine_path(guid: str) -> ObjectPath:
    """Return the path of the VM's Msvm_ComputerSystem."""
    return ObjectPath.of("Msvm_ComputerSystem", CreationClassName="Msvm_ComputerSystem", Name=guid)


def settings_path(guid: str) -> ObjectPath:
    """Return the path of the VM's active settings."""
    return ObjectPath.of("Msvm_VirtualSystemSettingData", InstanceID=f"Microsoft:{guid}")


async def _summaries(client: CimClient, guids: Sequence[str] | None) -> tuple[Machine, ...]:
    """Ask for the summary of these VMs, of all for None.

    Checkpoints swell the answer, so they are asked for only where VMs are named.
    """
    fields = _FIELDS if guids is None else (*_FIELDS, SummaryField.SNAPSHOTS)
    result = await client.invoke(
        MANAGEMENT_SERVICE,
        "GetSummaryInformation",
        {
            "SettingData": None if guids is None else [settings_path(guid) for guid in guids],
            "RequestedInformation": [Uint32(number) for number in fields],
        },
    )
    if result.return_value != ReturnCode.COMPLETED:
        raise MethodFailed("read the summary of VMs", result.return_value or 0)
    rows = result.out.instances("SummaryInformation")
    return tuple(_machine(row, checkpoints=guids is not None) for row in rows)


def _machine(row: Instance, *, checkpoints: bool) -> Machine:
    state = row.uint("EnabledState")
    if state is None:
        raise HypervisorError(f"the host does not tell the state of VM {row.string('Name')}")
    return Machine(
        guid=row.require("Name"),
        element_name=row.string("ElementName") or "",
        state=state,
        ownership=read_ownership(row.string("Notes")),
        health=row.uint("HealthState"),
        other_state=row.string("OtherEnabledState"),
        notes=row.string("Notes") or "",
        checkpoints=len(row.instances("Snapshots")) if checkpoints else None,
    )


def _the_one(machines: Sequence[Machine], name: str) -> Machine | None:
    """Choose among VMs of one name: ours; else, unless there are several, the other's."""
    ours = [m for m in machines if m.ownership is not None and m.ownership.name == name]
    if len(ours) > 1:
        # A copy keeps the Notes.  The one that still has the name is the original.
        named = [m for m in ours if m.element_name == name]
        if len(named) != 1:
            guids = ", ".join(sorted(m.guid for m in ours))
            raise NotOurs(
                f"{len(ours)} VMs carry the mark of {name} ({guids}): remove the copy, or the "
                "CloudStack line from its Notes"
            )
        ours = named
    if ours:
        return ours[0]
    return machines[0] if machines else None
