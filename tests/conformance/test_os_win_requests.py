"""OpenStack's os-win, whose VMUtils and NetworkUtils do what Nova's Hyper-V driver does.

os-win speaks local WMI; outside this suite its version 5.9.0 ran unchanged through a `wmi` module
that speaks WS-Management with pypsrp, and all steps succeeded.  What it depends on beyond plain
calls is kept here, with pypsrp and NTLM: whole template rows sent back, a reference to the machine
where its settings are meant, LIKE with lone backslashes, references compared in WQL, and a
checkpoint that is found through its job.
"""

from __future__ import annotations

import asyncio
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from xml.sax.saxutils import escape

from pypsrp.wsman import NAMESPACES, SelectorSet, WSMan
from tests.conformance.wire import value
from tests.emulation import PASSWORD, USER, running_emulation

BASE = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/"
VSMS = "Msvm_VirtualSystemManagementService"
SNAPSHOTS = "Msvm_VirtualSystemSnapshotService"
WSEN = "{" + NAMESPACES["wsen"] + "}"
WSMAN = "{" + NAMESPACES["wsman"] + "}"
A = NAMESPACES["wsa"]
WQL = "http://schemas.microsoft.com/wbem/wsman/1/WQL"


class OsWin:
    """os-win's habits on one pypsrp connection."""

    def __init__(self, port: int) -> None:
        self.wsman = WSMan(
            "127.0.0.1",
            port=port,
            ssl=False,
            auth="ntlm",
            username=USER,
            password=PASSWORD,
            max_envelope_size=512000,
            no_proxy=True,
        )

    def query(self, text: str) -> list[ET.Element]:
        body = ET.Element(WSEN + "Enumerate")
        ET.SubElement(body, WSMAN + "OptimizeEnumeration")
        ET.SubElement(body, WSMAN + "MaxElements").text = "1000"
        ET.SubElement(body, WSMAN + "Filter", Dialect=WQL).text = text
        answer = self.wsman.enumerate(BASE + "*", body)
        return [row for items in answer.iter(WSMAN + "Items") for row in items]

    def invoke(
        self, class_name: str, method: str, body: str, **keys: str
    ) -> tuple[int, ET.Element]:
        uri = BASE + class_name
        selectors = SelectorSet()
        for name, text in {"CreationClassName": class_name, **keys}.items():
            selectors.add_option(name, text)
        element = ET.fromstring(
            f'<p:{method}_INPUT xmlns:p="{uri}" xmlns:a="{A}" '
            f'xmlns:w="{NAMESPACES["wsman"]}">{body}</p:{method}_INPUT>'
        )
        answer = self.wsman.invoke(f"{uri}/{method}", uri, element, selector_set=selectors)
        output = next(answer.iter(f"{{{uri}}}{method}_OUTPUT"))
        return int(output.findtext(f"{{{uri}}}ReturnValue") or -1), output

    def done(self, class_name: str, method: str, body: str, **keys: str) -> tuple[str, ET.Element]:
        """Invoke and wait; returns the job's id ("" for none) and the answer."""
        code, output = self.invoke(class_name, method, body, **keys)
        assert code in (0, 4096)
        if code == 0:
            return "", output
        job = output.find(f"{{{BASE + class_name}}}Job")
        assert job is not None
        name = job.findtext(f".//{WSMAN}Selector") or ""
        for _ in range(200):
            (row,) = self.query(
                f"SELECT * FROM Msvm_ConcreteJob WHERE InstanceID = '{name}'"  # noqa: S608 - WQL
            )
            if int(value(row, "JobState") or 0) > 4:
                assert value(row, "JobState") == "7"
                assert value(row, "ErrorCode") == "0"
                return name, output
            time.sleep(0.02)
        raise AssertionError("the job does not end")

    def template(self, class_name: str, condition: str = "") -> ET.Element:
        (row,) = self.query(
            f"SELECT * FROM {class_name} WHERE {condition} InstanceID LIKE '%\\Default'"  # noqa: S608
        )
        return row


def reference(class_name: str, **keys: str) -> str:
    selectors = "".join(
        f'<w:Selector Name="{name}">{escape(text)}</w:Selector>' for name, text in keys.items()
    )
    return (
        "<a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address>"
        f"<a:ReferenceParameters><w:ResourceURI>{BASE}{class_name}</w:ResourceURI>"
        f"<w:SelectorSet>{selectors}</w:SelectorSet></a:ReferenceParameters>"
    )


def text_of(row: ET.Element, **changes: str) -> str:
    """Return a whole row as GetText_ does, null properties left out, with changes."""
    class_name = row.tag.partition("}")[2]
    numbers = {"ResourceType": "uint16", "VirtualQuantity": "uint64", "Weight": "uint32"}
    booleans = {"AutomaticAllocation", "AutomaticDeallocation", "StaticMacAddress"}
    strings = {"InstanceID", "Caption", "ElementName", "ResourceSubType", "Address", "Parent"}
    lines = []
    for child in row:
        name = child.tag.partition("}")[2]
        text = changes.get(name, child.text or "")
        if name in numbers:
            kind = numbers[name]
        elif name in booleans:
            kind, text = "boolean", text.upper()
        elif name in strings:
            kind = "string"
        else:
            continue
        lines.append(
            f'<PROPERTY NAME="{name}" TYPE="{kind}"><VALUE>{escape(text)}</VALUE></PROPERTY>'
        )
    return escape(f'<INSTANCE CLASSNAME="{class_name}">{"".join(lines)}</INSTANCE>')


def conversation(port: int) -> None:
    osw = OsWin(port)
    settings = '<INSTANCE CLASSNAME="Msvm_VirtualSystemSettingData"><PROPERTY NAME="ElementName" '
    settings += 'TYPE="string"><VALUE>nova</VALUE></PROPERTY></INSTANCE>'
    osw.done(VSMS, "DefineSystem", f"<p:SystemSettings>{escape(settings)}</p:SystemSettings>")
    (system,) = osw.query("SELECT * FROM Msvm_ComputerSystem WHERE ElementName = 'nova'")
    guid = value(system, "Name") or ""
    machine = reference("Msvm_ComputerSystem", CreationClassName="Msvm_ComputerSystem", Name=guid)

    # create_nic: the template with a new name and an address; its own InstanceID goes along.
    template = osw.template("Msvm_SyntheticEthernetPortSettingData")
    text = text_of(template, ElementName="nic-1", Address="00155D0A0B0C", StaticMacAddress="true")
    _, added = osw.done(
        VSMS,
        "AddResourceSettings",
        f"<p:AffectedConfiguration>{machine}</p:AffectedConfiguration>"
        f"<p:ResourceSettings>{text}</p:ResourceSettings>",
    )
    nic_id = added.findtext(f".//{WSMAN}Selector[@Name='InstanceID']") or ""
    assert nic_id.upper().startswith(f"Microsoft:{guid}\\".upper())
    # get_element_associated_class: the prefix's backslash is not doubled.
    (nic,) = osw.query(
        "SELECT * FROM Msvm_SyntheticEthernetPortSettingData WHERE InstanceID "  # noqa: S608 - WQL
        f"LIKE '{nic_id}%'"
    )
    assert value(nic, "ElementName") == "nic-1"
    assert value(nic, "Address") == "00155D0A0B0C"

    # _get_vswitch_external_port: an association row by the path of one of its ends.
    (port_row, *_) = osw.query("SELECT * FROM Msvm_ExternalEthernetPort")
    keys = {
        name: value(port_row, name) or ""
        for name in ("CreationClassName", "DeviceID", "SystemCreationClassName", "SystemName")
    }
    path = r"\\HYPERV1\root\virtualization\v2:Msvm_ExternalEthernetPort." + ",".join(
        f'{name}="{text}"' for name, text in keys.items()
    )
    doubled = path.replace("\\", "\\\\")
    ends = osw.query(
        f"SELECT * FROM Msvm_EthernetDeviceSAPImplementation WHERE Antecedent = '{doubled}'"  # noqa: S608
    )
    assert len(ends) == 1

    # take_vm_snapshot: the checkpoint is the job's associated settings.
    job, answer = osw.done(
        SNAPSHOTS,
        "CreateSnapshot",
        f"<p:AffectedSystem>{machine}</p:AffectedSystem><p:SnapshotType>2</p:SnapshotType>",
    )
    assert job
    nothing = answer.find(f"{{{BASE}{SNAPSHOTS}}}ResultingSnapshot")
    assert nothing is None or not len(nothing)
    (checkpoint,) = osw.query(
        f"ASSOCIATORS OF {{Msvm_ConcreteJob.InstanceID='{job}'}} WHERE AssocClass = "
        "Msvm_AffectedJobElement ResultClass = Msvm_VirtualSystemSettingData"
    )
    assert value(checkpoint, "VirtualSystemType") == "Microsoft:Hyper-V:Snapshot:Realized"
    osw.done(
        SNAPSHOTS,
        "DestroySnapshot",
        "<p:AffectedSnapshot>"
        + reference(
            "Msvm_VirtualSystemSettingData", InstanceID=value(checkpoint, "InstanceID") or ""
        )
        + "</p:AffectedSnapshot>",
    )
    # While the checkpoint's disks are merged a machine cannot be destroyed; os-win tries again.
    destroy = f"<p:AffectedSystem>{machine}</p:AffectedSystem>"
    for _ in range(100):
        code, _ = osw.invoke(VSMS, "DestroySystem", destroy)
        if code != 32775:
            break
        time.sleep(0.05)
    assert code in (0, 4096)
    for _ in range(100):
        if not osw.query("SELECT * FROM Msvm_ComputerSystem WHERE ElementName = 'nova'"):
            break
        time.sleep(0.02)
    assert osw.query("SELECT * FROM Msvm_ComputerSystem WHERE ElementName = 'nova'") == []
    osw.wsman.close()


async def test_what_novas_driver_depends_on(tmp_path: Path) -> None:
    async with running_emulation(tmp_path) as emulation:
        await asyncio.to_thread(conversation, emulation.port)
