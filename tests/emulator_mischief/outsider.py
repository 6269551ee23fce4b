"""pypsrp, a WS-Man client that is not ours, as somebody who looks at an emulated host."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from xml.sax.saxutils import escape

from pypsrp.wsman import NAMESPACES, OptionSet, SelectorSet, WSMan
from tests.emulation import PASSWORD, USER

WMI = "http://schemas.microsoft.com/wbem/wsman/1/wmi/"
V2 = "root/virtualization/v2"
WSEN = "{" + NAMESPACES["wsen"] + "}"
S = "{" + NAMESPACES["s"] + "}"
W = "{" + NAMESPACES["wsman"] + "}"
WQL = "http://schemas.microsoft.com/wbem/wsman/1/WQL"
MANAGEMENT = "Msvm_VirtualSystemManagementService"
IMAGES = "Msvm_ImageManagementService"
SYSTEM = "Msvm_ComputerSystem"

Answer = dict[str, str | None]


class Outsider:
    """A client with a connection of its own; every call runs in a thread."""

    def __init__(self, port: int, password: str = PASSWORD, auth: str = "basic") -> None:
        self._wsman = WSMan(
            "127.0.0.1",
            port=port,
            ssl=False,
            auth=auth,
            encryption="never" if auth == "basic" else "auto",
            username=USER,
            password=password,
            max_envelope_size=512000,
            operation_timeout=10,
            read_timeout=12,
            no_proxy=True,
        )

    async def close(self) -> None:
        await asyncio.to_thread(self._wsman.close)

    async def get(self, class_name: str, keys: Mapping[str, str], namespace: str = V2) -> Answer:
        uri = f"{WMI}{namespace}/{class_name}"
        body = await asyncio.to_thread(self._wsman.get, uri, selector_set=_selectors(keys))
        return _values(body[0])

    async def invoke(
        self,
        class_name: str,
        method: str,
        keys: Mapping[str, str] | None = None,
        namespace: str = V2,
        **parameters: str | int,
    ) -> Answer:
        """Call a method with parameters that are text (embedded instances too) or numbers."""
        uri = f"{WMI}{namespace}/{class_name}"
        request = ET.Element(f"{{{uri}}}{method}_INPUT")
        for name, value in parameters.items():
            ET.SubElement(request, f"{{{uri}}}{name}").text = str(value)
        selectors = _selectors(keys or {"CreationClassName": class_name})
        envelope = await asyncio.to_thread(
            self._wsman.invoke, f"{uri}/{method}", uri, request, None, selectors
        )
        return _values(_content(envelope))

    async def query(self, text: str, namespace: str = V2) -> list[Answer]:
        """Run WQL, all rows in one answer."""
        uri = f"{WMI}{namespace}/*"
        request = ET.Element(WSEN + "Enumerate")
        ET.SubElement(request, W + "OptimizeEnumeration")
        ET.SubElement(request, W + "MaxElements").text = "1000"
        ET.SubElement(request, W + "Filter", Dialect=WQL).text = text
        body = await asyncio.to_thread(self._wsman.enumerate, uri, request, OptionSet())
        items = body.find(f".//{W}Items")
        return [] if items is None else [_values(item) for item in items]

    # What the tests do again and again ----------------------------------------------------------

    async def names(self) -> list[str | None]:
        """Return the names of the virtual machines."""
        rows = await self.query(
            f"SELECT * FROM {SYSTEM} WHERE Caption = 'Virtual Machine'"  # noqa: S608 - WQL of a test
        )
        return [row["ElementName"] for row in rows]

    async def machine(self, guid: str) -> Answer:
        return await self.get(SYSTEM, machine_key(guid))

    async def define(self, name: str, **more: str) -> Answer:
        values = {"ElementName": name, **more}
        text = embedded("Msvm_VirtualSystemSettingData", values)
        return await self.invoke(MANAGEMENT, "DefineSystem", SystemSettings=text)

    async def create_disk(self, path: str, size: int = 2**26, disk_type: int = 3) -> Answer:
        text = embedded(
            "Msvm_VirtualHardDiskSettingData",
            {"Path": path},
            {"Type": ("uint16", disk_type), "Format": ("uint16", 3)}
            | {"MaxInternalSize": ("uint64", size)},
        )
        return await self.invoke(IMAGES, "CreateVirtualHardDisk", VirtualDiskSettingData=text)

    async def job_ended(self, job: Answer | str, class_name: str = "Msvm_StorageJob") -> Answer:
        """Poll a job to its end."""
        job_id = job if isinstance(job, str) else (job["Job"] or "")
        for _ in range(500):
            row = await self.get(class_name, {"InstanceID": job_id})
            if row["JobState"] not in ("2", "3", "4"):
                return row
            await asyncio.sleep(0.01)
        raise AssertionError("the job does not end")


def machine_key(guid: str) -> dict[str, str]:
    return {"CreationClassName": SYSTEM, "Name": guid}


def embedded(
    class_name: str,
    texts: Mapping[str, str],
    numbers: Mapping[str, tuple[str, int]] | None = None,
) -> str:
    """Return an instance as CIM-XML."""
    rows = [
        f'<PROPERTY NAME="{name}" TYPE="string"><VALUE>{escape(value)}</VALUE></PROPERTY>'
        for name, value in texts.items()
    ]
    rows += [
        f'<PROPERTY NAME="{name}" TYPE="{kind}"><VALUE>{value}</VALUE></PROPERTY>'
        for name, (kind, value) in (numbers or {}).items()
    ]
    return f'<INSTANCE CLASSNAME="{class_name}">{"".join(rows)}</INSTANCE>'


def _selectors(keys: Mapping[str, str]) -> SelectorSet:
    selectors = SelectorSet()
    for name, value in keys.items():
        selectors.add_option(name, value)
    return selectors


def _content(envelope: ET.Element) -> ET.Element:
    body = envelope.find(f"{S}Body")
    assert body is not None
    return body[0]


def _values(element: ET.Element) -> Answer:
    """Return an instance's or an answer's elements by local name; a reference as its key."""
    values: Answer = {}
    for child in element:
        name = child.tag.rpartition("}")[2]
        selector = next(
            (
                each.text
                for each in child.iter(W + "Selector")
                if each.get("Name") in ("InstanceID", "Name")
            ),
            None,
        )
        # A datetime stands in an element of its own.
        text = child.text or (child[0].text if len(child) else None)
        values[name] = selector if selector is not None else text
    return values
