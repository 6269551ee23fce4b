"""Rows that public recordings show, written down as shapes, compared with those of a live host.

Such a file (JSON) holds the names and order of a row's elements, what each holds (`value`, `nil`,
`datetime`, `reference`), and those values that belong to every host of the recorded kind.  The
request was not recorded: it is reconstructed, and marked so.  What the host must have for such a
row to exist (a machine, a checkpoint) is made first, with the product's own operations.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from xml.etree import ElementTree as ET

import msgspec

from cloudstack_hyperv.cim import Uint16
from cloudstack_hyperv.fieldwork.comparison.answer_pairs import Sheet, compare_rows
from cloudstack_hyperv.fieldwork.comparison.answers import object_of, read_answer
from cloudstack_hyperv.fieldwork.comparison.differences import Difference, Kind
from cloudstack_hyperv.fieldwork.comparison.replay import Comparison
from cloudstack_hyperv.fieldwork.comparison.shapes import NIL, XSI_TYPE
from cloudstack_hyperv.fieldwork.comparison.wire import Wire
from cloudstack_hyperv.fieldwork.recording.file import RecordingError
from cloudstack_hyperv.fieldwork.recording.policy import GUID
from cloudstack_hyperv.hypervisor import power
from cloudstack_hyperv.hypervisor.checkpoints import SNAPSHOT_SERVICE
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE, machine_path, settings_path
from cloudstack_hyperv.hypervisor.settings_data import adapter
from cloudstack_hyperv.hypervisor.switches import SwitchKind, list_switches
from cloudstack_hyperv.network import NicWish
from cloudstack_hyperv.wsman import CimClient, EmbeddedInstance
from cloudstack_hyperv.wsman.protocol import envelope, names
from cloudstack_hyperv.wsman.protocol.envelope import Head
from cloudstack_hyperv.wsman.protocol.names import split_class_uri
from cloudstack_hyperv.wsman.protocol.xmltext import local_name

_URL: Final = "http://127.0.0.1/wsman"
_OPTIMISED: Final = (
    "<w:OptimizeEnumeration/>",
    f"<w:MaxElements>{envelope.MAX_ELEMENTS}</w:MaxElements>",
    f"<n:MaxElements>{envelope.MAX_ELEMENTS}</n:MaxElements>",
)
_KEYS: Final = "/ReferenceParameters/"
"""Where the keys of a reference are: a known row tells that there is one, not to what."""
_CREATED: Final = "5"
"""ElementEffects of an object that a job made."""

Wanted = Callable[[ET.Element], bool]
"""Whether a row of the live host is the one to compare with."""


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the row was asked for."""

    reconstructed: bool
    operation: str
    resource: str


class Element(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One element of the row."""

    name: str
    content: Literal["value", "nil", "datetime", "reference"]


class KnownRow(msgspec.Struct, frozen=True, rename={"class_name": "class"}):
    """One file."""

    about: str
    request: Asked
    class_name: str
    row: str
    """What the row stands for, in words."""
    elements: tuple[Element, ...]
    known_values: Mapping[str, str] = {}


def read_known_row(path: Path) -> KnownRow:
    """Read a file; raises RecordingError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=KnownRow)
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise RecordingError(f"{path}: {error}") from error


def is_known_row(path: Path) -> bool:
    """Whether a file is one document, not lines: a known row, not a recording."""
    try:
        msgspec.json.decode(path.read_bytes(), type=KnownRow)
    except (OSError, msgspec.MsgspecError):
        return False
    return True


async def compare_known_row(known: KnownRow, wire: Wire, client: CimClient) -> Comparison:
    """Bring the host to where it has such a row, and compare; raises RecordingError.

    `client` makes what is missing, `wire` asks as the recorded client did.
    """
    wanted = await _prepare(known, client)
    rows = [row for row in await _rows(known.request.resource, wire) if wanted(row)]
    result = Comparison(requests=1)
    if not rows:
        return _with(result, known, [(Kind.ROWS, known.class_name, known.row, "no such row")])
    row = rows[0]
    sheet = Sheet()
    compare_rows(_recorded(known), row, sheet)
    reported = [each for each in sheet.reported if _KEYS not in each[1]]
    return _with(result, known, [*reported, *_values(known, row)])


def _with(
    result: Comparison, known: KnownRow, reported: list[tuple[Kind, str, str, str]]
) -> Comparison:
    result.differences += [
        Difference(kind, f"Enumerate {known.class_name}", where, one, other, 1, known.row)
        for kind, where, one, other in reported
    ]
    return result


def _recorded(known: KnownRow) -> ET.Element:
    uri = known.request.resource
    row = ET.Element(f"{{{uri}}}{known.class_name}", {XSI_TYPE: f"p:{known.class_name}_Type"})
    for element in known.elements:
        child = ET.SubElement(row, f"{{{uri}}}{element.name}")
        value = known.known_values.get(element.name, "")
        match element.content:
            case "nil":
                child.set(NIL, "true")
            case "datetime":
                ET.SubElement(child, f"{{{names.CIM}}}Datetime").text = value
            case "reference":
                _write_reference(child)
            case "value":
                child.text = value
    return row


def _write_reference(element: ET.Element) -> None:
    """Write a reference whose keys are not known."""
    ET.SubElement(element, f"{{{names.ADDRESSING}}}Address").text = names.ANONYMOUS
    parameters = ET.SubElement(element, f"{{{names.ADDRESSING}}}ReferenceParameters")
    ET.SubElement(parameters, f"{{{names.WSMAN}}}ResourceURI")
    ET.SubElement(parameters, f"{{{names.WSMAN}}}SelectorSet")


def _values(known: KnownRow, row: ET.Element) -> list[tuple[Kind, str, str, str]]:
    found = {local_name(child): "".join(child.itertext()) for child in reversed(row)}
    return [
        (Kind.VALUE, f"{known.class_name}/{name}", value, found[name])
        for name, value in known.known_values.items()
        if name in found and found[name] not in (value, "")
    ]


async def _rows(resource: str, wire: Wire) -> list[ET.Element]:
    """Enumerate plainly and pull one by one, as the recorded client did."""
    page = read_answer(await wire.post(_plain(envelope.enumerate_request(_head(), resource))))
    rows = page.rows
    while page.context is not None:
        text = envelope.pull_request(_head(), resource, page.context)
        page = read_answer(await wire.post(_plain(text)))
        rows += page.rows
    return [object_of(row) for row in rows]


def _plain(text: str) -> str:
    for option in _OPTIMISED:
        text = text.replace(option, "")
    return text


def _head() -> Head:
    return Head(_URL, f"uuid:{str(uuid.uuid4()).upper()}", 60.0)


# What has to be there -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Made:
    client: CimClient

    async def machine(self, name: str) -> str:
        """Define a machine with nothing but defaults; returns its GUID."""
        settings = EmbeddedInstance("Msvm_VirtualSystemSettingData", {"ElementName": name})
        result = await call(
            self.client,
            MANAGEMENT_SERVICE,
            "DefineSystem",
            {"SystemSettings": settings},
            what=f"define {name}",
        )
        system = result.out.path("ResultingSystem")
        guid = None if system is None else system.key("Name")
        if guid is None:
            raise HypervisorError(f"the host does not say what {name} became")
        return guid

    async def running(self, name: str = "running") -> str:
        """Define a machine with a network card and start it."""
        guid = await self.machine(name)
        nic = NicWish(0, "02000000AA01", None, needs_switch=False, connected=False)
        await call(
            self.client,
            MANAGEMENT_SERVICE,
            "AddResourceSettings",
            {
                "AffectedConfiguration": settings_path(guid),
                "ResourceSettings": [adapter(nic, str(uuid.uuid4()).upper())],
            },
            what=f"give {name} a card",
        )
        await power.turn_on(self.client, guid, name)
        return guid


async def _prepare(known: KnownRow, client: CimClient) -> Wanted:
    described = (known.class_name, known.row.partition(":")[0])
    prepare = _PREPARATIONS.get(described)
    if prepare is None:
        raise RecordingError(f"{known.class_name}: nobody knows how to make {known.row!r}")
    return await prepare(_Made(client))


async def _host_itself(_: _Made) -> Wanted:
    return lambda row: GUID.fullmatch(_text(row, "Name")) is None


async def _machine_off(made: _Made) -> Wanted:
    guid = await made.machine("off")
    return lambda row: _text(row, "Name") == guid


async def _machine_running(made: _Made) -> Wanted:
    guid = await made.running()
    return lambda row: _text(row, "Name") == guid


async def _checkpoint(made: _Made) -> Wanted:
    guid = await made.running()
    await call(
        made.client,
        SNAPSHOT_SERVICE,
        "CreateSnapshot",
        {"AffectedSystem": machine_path(guid), "SnapshotType": Uint16(2)},
        what="take a checkpoint",
    )
    uri_end = "Msvm_VirtualSystemSettingData"

    def wanted(row: ET.Element) -> bool:
        affected = next((each for each in row if local_name(each) == "AffectedElement"), None)
        uris = [] if affected is None else affected.iter(f"{{{names.WSMAN}}}ResourceURI")
        return _text(row, "ElementEffects") == _CREATED and any(
            split_class_uri(uri.text or "")[1] == uri_end for uri in uris
        )

    return wanted


async def _card_in_use(_: _Made) -> Wanted:
    return lambda row: _text(row, "IsBound") == "true"


async def _silent_card(made: _Made) -> Wanted:
    guid = await made.running()
    return lambda row: guid in _text(row, "InstanceID")


async def _external_switch(made: _Made) -> Wanted:
    switches = await list_switches(made.client)
    external = {switch.guid for switch in switches if switch.kind is SwitchKind.EXTERNAL}
    return lambda row: _text(row, "Name") in external


_PREPARATIONS: Final[dict[tuple[str, str], Callable[[_Made], Awaitable[Wanted]]]] = {
    ("Msvm_AffectedJobElement", "a checkpoint and the job that made it"): _checkpoint,
    ("Msvm_ComputerSystem", "the host itself"): _host_itself,
    ("Msvm_ComputerSystem", "a machine that was never started"): _machine_off,
    ("Msvm_ComputerSystem", "a running machine"): _machine_running,
    ("Msvm_ExternalEthernetPort", "a physical card that a switch uses"): _card_in_use,
    (
        "Msvm_GuestNetworkAdapterConfiguration",
        "a card whose guest reports nothing",
    ): _silent_card,
    ("Msvm_VirtualEthernetSwitch", "an external switch"): _external_switch,
}


def _text(row: ET.Element, name: str) -> str:
    return next((child.text or "" for child in row if local_name(child) == name), "")
