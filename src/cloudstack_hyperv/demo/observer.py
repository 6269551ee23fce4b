"""What the host says of itself, read by a client that is not ours: pypsrp's WSMan.

The demo must not believe the agent, nor the agent's own WS-Man client.  So after every step the
host is read back with `pypsrp.wsman.WSMan` (a requests session, other code for every layer) and
compared with what it showed before.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

from pypsrp.wsman import NAMESPACES, WSMan

VIRTUALIZATION = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/"
CIMV2 = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/cimv2/"
WQL = "http://schemas.microsoft.com/wbem/wsman/1/WQL"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
ENUMERATION = "http://schemas.xmlsoap.org/ws/2004/09/enumeration"

POWER = {"2": "running", "3": "off", "4": "stopping", "6": "saved", "9": "paused", "10": "starting"}

Snapshot = dict[str, str]
"""What is there, as "thing" -> "how it is"; two snapshots are compared key by key."""


class HostObserver:
    """Reads one host back over WS-Management."""

    def __init__(self, address: str, port: int, user: str, password: str) -> None:
        self._wsman = WSMan(
            address, port=port, ssl=False, auth="ntlm", username=user, password=password,
            encryption="always",
        )  # fmt: skip
        self._files: list[str] = []

    def watch_file(self, path: str) -> None:
        """Look at this file of the host in every snapshot."""
        if path not in self._files:
            self._files.append(path)

    def close(self) -> None:
        """Close the connection."""
        self._wsman.close()

    def snapshot(self) -> Snapshot:
        """Return machines with devices, and the watched files."""
        found: Snapshot = {}
        names: dict[str, str] = {}
        for row in self._rows("Msvm_ComputerSystem"):
            if re.fullmatch(r"[0-9A-Fa-f-]{36}", row["Name"][0]):
                names[row["Name"][0].upper()] = row["ElementName"][0]
                state = row["EnabledState"][0]
                found[f"VM {row['ElementName'][0]}"] = POWER.get(state, f"state {state}")
        for owner, what, how in self._devices():
            if owner in names:
                found[f"VM {names[owner]}: {what}"] = how
        for path in self._files:
            size = self._file_size(path)
            if size is not None:
                found[f"file {path}"] = f"{size:,} bytes"
        return found

    def _devices(self) -> Iterator[tuple[str, str, str]]:
        """Yield (VM's GUID, thing, how it is) of every device of every VM."""
        for row in self._rows("Msvm_ProcessorSettingData"):
            yield _owner(row), "processors", row["VirtualQuantity"][0]
        for row in self._rows("Msvm_MemorySettingData"):
            yield _owner(row), "memory", f"{row['VirtualQuantity'][0]} MiB"
        for row in self._rows("Msvm_ResourceAllocationSettingData"):
            if row.get("ResourceType", [""])[0] == "16":
                yield _owner(row), f"DVD drive {_slot(row)}", "there"
        for row in self._rows("Msvm_StorageAllocationSettingData"):
            resource = row.get("HostResource")
            if resource:
                yield _owner(row), f"medium {_slot(row)}", resource[0]
        ports: dict[str, str] = {}
        for row in self._rows("Msvm_SyntheticEthernetPortSettingData"):
            mac = row.get("Address", ["?"])[0]
            ports[row["InstanceID"][0].upper()] = mac
            yield _owner(row), f"NIC {mac}", "there"
        for row in self._rows("Msvm_EthernetPortAllocationSettingData"):
            identity = row["InstanceID"][0].upper().removesuffix("\\C")
            if identity in ports:
                linked = row.get("EnabledState", ["2"])[0] == "2" and "HostResource" in row
                how = "connected" if linked else "not connected"
                yield _owner(row), f"NIC {ports[identity]} cable", how
        for row in self._rows("Msvm_EthernetSwitchPortVlanSettingData"):
            identity = row["InstanceID"][0].upper().partition("\\C\\")[0]
            if identity in ports:
                yield _owner(row), f"NIC {ports[identity]} VLAN", row["AccessVlanId"][0]

    def _file_size(self, path: str) -> int | None:
        name = path.replace("\\", "\\\\").replace("'", "\\'")
        rows = list(
            self._query(CIMV2, f"SELECT * FROM CIM_DataFile WHERE Name = '{name}'")  # noqa: S608 - WQL of the demo's own paths
        )
        return int(rows[0]["FileSize"][0]) if rows else None

    def _rows(self, class_name: str) -> Iterator[dict[str, list[str]]]:
        for row in self._query(VIRTUALIZATION, f"SELECT * FROM {class_name}"):  # noqa: S608 - class names of this module
            if "Definition" not in row.get("InstanceID", [""])[0]:
                yield row

    def _query(self, base: str, wql: str) -> Iterator[dict[str, list[str]]]:
        body = ET.Element(f"{{{ENUMERATION}}}Enumerate")
        ET.SubElement(body, f"{{{WSMAN}}}OptimizeEnumeration")
        ET.SubElement(body, f"{{{WSMAN}}}MaxElements").text = "500"
        ET.SubElement(body, f"{{{WSMAN}}}Filter", Dialect=WQL).text = wql
        answer = self._wsman.enumerate(f"{base}*", body)
        while True:
            for items in (
                *answer.iter(f"{{{WSMAN}}}Items"),
                *answer.iter(f"{{{ENUMERATION}}}Items"),
            ):
                yield from (_row(item) for item in items)
            ended = answer.find(".//wsen:EndOfSequence", NAMESPACES) is not None
            ended = ended or answer.find(".//wsman:EndOfSequence", NAMESPACES) is not None
            context = answer.find(".//wsen:EnumerationContext", NAMESPACES)
            if ended or context is None or not context.text:
                return
            pull = ET.Element(f"{{{ENUMERATION}}}Pull")
            ET.SubElement(pull, f"{{{ENUMERATION}}}EnumerationContext").text = context.text
            ET.SubElement(pull, f"{{{ENUMERATION}}}MaxElements").text = "500"
            answer = self._wsman.pull(f"{base}*", pull)


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    """Say in words what differs, in order of appearance."""
    lines = [f"+ {what}: {how}" for what, how in after.items() if what not in before]
    lines += [
        f"~ {what}: {before[what]} -> {how}"
        for what, how in after.items()
        if what in before and before[what] != how
    ]
    gone = [what for what in before if what not in after]
    # A machine that is gone takes its devices along: one line says it.
    lines += [
        f"- {what}" for what in gone if what.partition(": ")[0] not in gone or ": " not in what
    ]
    return lines


def _row(element: ET.Element) -> dict[str, list[str]]:
    row: dict[str, list[str]] = {}
    for child in element:
        if child.get("{http://www.w3.org/2001/XMLSchema-instance}nil") != "true":
            row.setdefault(child.tag.rpartition("}")[2], []).append(child.text or "")
    return row


def _owner(row: dict[str, list[str]]) -> str:
    return row["InstanceID"][0].removeprefix("Microsoft:").split("\\")[0].upper()


def _slot(row: dict[str, list[str]]) -> str:
    """Name controller and address: the tail of InstanceID `...\\<controller>\\0\\1\\D`."""
    parts = row["InstanceID"][0].split("\\")
    controller = "IDE" if parts[1].upper().startswith("83F8638B") else "SCSI"
    place = ":".join(part for part in parts[2:] if part.isdigit())
    return f"{controller} {place}"
