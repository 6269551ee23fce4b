"""Virtual switches of a host, and how a CloudStack traffic label finds its switch.

The label is an `ElementName`, exactly; names can be duplicated in Hyper-V, a switch's GUID
(`Name`) cannot, so either is accepted.  Without a label the only external switch is meant: with
none or several of them nobody can know which, and guessing would put a VM on a wrong network.

A switch's kind is not a property: it shows in what its own ports are connected to.  The settings
of those ports have the switch's GUID in their InstanceID, and their HostResource names an external
port (external) or the host's own computer system (internal); a private switch has neither.
Source: Microsoft, "Msvm_VirtualEthernetSwitch" and "Msvm_EthernetPortAllocationSettingData".
"""

from __future__ import annotations

import asyncio
import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.hypervisor.errors import HypervisorError, translated
from cloudstack_hyperv.wsman.api import CimClient, Instance
from cloudstack_hyperv.wsman.protocol.wql import Not, Select, ends_with

_SWITCH = "Msvm_VirtualEthernetSwitch"
_CLASS_IN_PATH = re.compile(r"(?:.*?:)?([A-Za-z_]\w*)\.\w+=")
_EXTERNAL_PORT_CLASSES = ("msvm_externalethernetport", "msvm_wifiport")


class SwitchKind(enum.StrEnum):
    """What a switch connects its VMs with."""

    EXTERNAL = "external"
    INTERNAL = "internal"
    PRIVATE = "private"


class SwitchNotFound(HypervisorError):
    """No switch, or no single one, is meant by a traffic label."""


@dataclass(frozen=True, slots=True)
class VirtualSwitch:
    """One virtual switch."""

    name: str
    """ElementName: what the operator calls it."""
    guid: str
    """`Name` of the CIM instance, upper case as the host writes it."""
    path: ObjectPath
    """What a port's HostResource must say to be connected to it."""
    kind: SwitchKind | None
    """None when it was not read: a switch that is meant by its name needs none."""


async def list_switches(client: CimClient) -> tuple[VirtualSwitch, ...]:
    """Read all switches with their kinds, sorted by name: two round trips side by side."""
    with translated("list virtual switches"):
        rows, ports = await asyncio.gather(
            client.enumerate(_SWITCH),
            client.query(
                Select(
                    "Msvm_EthernetPortAllocationSettingData",
                    # Those of VMs' NICs, `...\\C`, can be thousands and tell nothing here.
                    where=Not(ends_with("InstanceID", "\\C")),
                    properties=("InstanceID", "HostResource"),
                )
            ),
        )
    return _switches(rows, _kinds(ports))


async def list_switch_names(client: CimClient) -> tuple[VirtualSwitch, ...]:
    """Read all switches without their kinds, sorted by name: one round trip."""
    with translated("list virtual switches"):
        return _switches(await client.enumerate(_SWITCH), None)


def _switches(
    rows: Iterable[Instance], kinds: Mapping[str, SwitchKind] | None
) -> tuple[VirtualSwitch, ...]:
    switches = [
        VirtualSwitch(
            name=row.string("ElementName") or "",
            guid=(guid := row.require("Name")),
            path=ObjectPath.of(_SWITCH, CreationClassName=_SWITCH, Name=guid),
            kind=None if kinds is None else kinds.get(guid.upper(), SwitchKind.PRIVATE),
        )
        for row in rows
    ]
    return tuple(sorted(switches, key=lambda switch: (switch.name, switch.guid)))


def resolve_label(switches: Iterable[VirtualSwitch], label: str | None) -> VirtualSwitch:
    """Return the switch that a traffic label means; raises SwitchNotFound saying why not."""
    known = tuple(switches)
    if not label:
        external = [switch for switch in known if switch.kind is SwitchKind.EXTERNAL]
        if len(external) == 1:
            return external[0]
        found = f"{len(external)} external switches" if external else "no external switch"
        raise SwitchNotFound(
            f"the network has no Hyper-V traffic label and the host has {found} "
            f"({described(known)}): set the label of the physical network's traffic type"
        )
    matches = [switch for switch in known if switch.name == label]
    if not matches:
        matches = [switch for switch in known if switch.guid.lower() == label.lower()]
    if len(matches) == 1:
        return matches[0]
    if matches:
        guids = ", ".join(switch.guid for switch in matches)
        raise SwitchNotFound(
            f"{len(matches)} virtual switches are called {label!r} ({guids}): rename one, or set "
            "the traffic label to the GUID of the one that is meant"
        )
    raise SwitchNotFound(f"no virtual switch {label!r} on the host, which has {described(known)}")


def described(switches: Iterable[VirtualSwitch]) -> str:
    """Name the switches for an error message."""
    texts = [
        f"{switch.name!r} ({switch.kind.value})" if switch.kind else repr(switch.name)
        for switch in switches
    ]
    return ", ".join(texts) if texts else "no virtual switch at all"


def _kinds(ports: Iterable[Instance]) -> dict[str, SwitchKind]:
    """Map a switch's GUID (upper case) to its kind, read off its own ports."""
    kinds: dict[str, SwitchKind] = {}
    for port in ports:
        identity = port.string("InstanceID") or ""
        guid = identity.removeprefix("Microsoft:").partition("\\")[0].upper()
        for resource in port.strings("HostResource"):
            connected_to = _class_of(resource)
            if connected_to in _EXTERNAL_PORT_CLASSES:
                kinds[guid] = SwitchKind.EXTERNAL
            elif connected_to == "msvm_computersystem":
                kinds.setdefault(guid, SwitchKind.INTERNAL)
    return kinds


def _class_of(path: str) -> str:
    """Return the lower-case class name of a CIM object path, without reading its keys."""
    match = _CLASS_IN_PATH.match(path)
    return match[1].lower() if match else ""
