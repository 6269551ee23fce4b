"""Key-value exchange: what the host gives the guest, and what the guest tells.

Host items are kept in the machine's configuration, also while it is off, and reach the guest
when its daemon runs.  An item that exists cannot be added, one that does not cannot be changed.

Sources: Microsoft's pages AddKvpItems, Msvm_KvpExchangeDataItem; record sizes (512 and 2048 bytes
of UTF-16) from the kernel's include/uapi/linux/hyperv.h; 32773 for longer values is what CloudStack
users report (apache/cloudstack#4072).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row
from cloudstack_hyperv.emulator.host.arguments import instances
from cloudstack_hyperv.emulator.host.jobs import JobKind
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.operation import Operation
from cloudstack_hyperv.emulator.host.outcome import Hresult, JobFailed, invalid_parameter
from cloudstack_hyperv.emulator.host.site import Site, machine_reference, text

ITEM = "Msvm_KvpExchangeDataItem"
_JOB = JobKind.concrete(2, "Modifying Virtual Machine")
_LONGEST_NAME, _LONGEST_DATA = 255, 1023
SOURCE_HOST, SOURCE_GUEST, SOURCE_INTRINSIC = 0, 1, 2

Reply = MethodReply | Awaitable[MethodReply]
Items = dict[str, str]


def item_row(name: str, data: str, source: int) -> Row:
    """Return an item as Msvm_KvpExchangeDataItem."""
    return Row(
        ITEM,
        {
            "Caption": "Key-Value Pair Exchange Data Item",
            "Description": "Microsoft Key-Value Pair Exchange Data Item",
            "ElementName": "Key-Value Pair Exchange Data Item",
            "Source": source,
            "Name": name,
            "Data": data,
        },
    )


class KeyValueExchange:
    """The management service's KVP methods."""

    def __init__(self, site: Site, machines: Machines) -> None:
        self._site = site
        self._machines = machines

    @property
    def methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        """Methods by name."""
        return {
            "AddKvpItems": lambda call: self._edit(call, _add),
            "ModifyKvpItems": lambda call: self._edit(call, _modify),
            "RemoveKvpItems": lambda call: self._edit(call, _remove),
        }

    def _edit(self, call: MethodCall, change: Callable[[Items, str, str], None]) -> Reply:
        machine = self._machines.referenced(call, "TargetSystem")
        wanted = [_checked(row) for row in instances(call, "DataItems")]
        if not wanted:
            raise invalid_parameter("DataItems is empty")

        def apply(_: object) -> None:
            items = dict(machine.host_items)
            for name, data in wanted:
                change(items, name, data)
            machine.host_items = items
            if machine.guest is not None:
                machine.guest.host_items = dict(items)
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

    def host_items(self, machine: Machine) -> list[Row]:
        """Return a machine's host items as rows."""
        return [item_row(name, data, SOURCE_HOST) for name, data in machine.host_items.items()]

    def guest_items(self, machine: Machine) -> list[Row]:
        """Return what the guest wrote, while its daemon runs."""
        if machine.guest is None or not machine.guest.kvp_up(self._site.timeline.now()):
            return []
        return [item_row(n, d, SOURCE_GUEST) for n, d in machine.guest.own_items.items()]

    def intrinsic_items(self, machine: Machine) -> list[Row]:
        """Return what the guest's daemon publishes about itself, while it runs."""
        now = self._site.timeline.now()
        if machine.guest is None or not machine.guest.kvp_up(now):
            return []
        items = machine.guest.intrinsic_items(list(machine.guest_addresses(now).values()))
        return [item_row(name, data, SOURCE_INTRINSIC) for name, data in items.items()]


def _checked(row: Row) -> tuple[str, str]:
    if row.class_name != ITEM:
        raise invalid_parameter(f"DataItems holds {ITEM}")
    name, data = text(row.values, "Name"), text(row.values, "Data")
    if not name or len(name) > _LONGEST_NAME:
        raise invalid_parameter(f"Name has 1 to {_LONGEST_NAME} characters")
    if len(data) > _LONGEST_DATA:
        raise invalid_parameter(f"Data has at most {_LONGEST_DATA} characters")
    if row.values.get("Source") != SOURCE_HOST:
        raise invalid_parameter("Source of an item from the host is 0")
    return name, data


def _add(items: Items, name: str, data: str) -> None:
    if name in items:
        raise JobFailed(ReturnCode.FAILED, f"The item '{name}' exists (0x800700B7).", 0x800700B7)
    items[name] = data


def _modify(items: Items, name: str, data: str) -> None:
    _require(items, name)
    items[name] = data


def _remove(items: Items, name: str, data: str) -> None:
    del data  # has to be sent, may be anything
    _require(items, name)
    del items[name]


def _require(items: Items, name: str) -> None:
    if name not in items:
        raise JobFailed(
            ReturnCode.FAILED,
            f"The item '{name}' does not exist (0x{Hresult.FILE_NOT_FOUND:08X}).",
            Hresult.FILE_NOT_FOUND,
        )
