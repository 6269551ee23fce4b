r"""What in an answer names somebody or something of the recorded site, property by property.

Two rules, because two kinds of classes are recorded.  Of Hyper-V's own namespace the texts are
evidence (captions, statuses, InstanceIDs), so there a list says what is *replaced*.  Everything
else (root/cimv2) tells about the machine and its owner, so there a list says what is *kept*, and
any other text goes.  What is of a form that names nobody (numbers, times, drive letters) stays.

GUIDs are kept unless they identify something of the site (the machine's UUID, its switches, cards,
volumes, other people's VMs): those in InstanceIDs tell kinds of devices, which is what a recording
is for.  Version 1 UUIDs have a MAC address in them and always go.

Source: Microsoft's class pages of the properties that are named.
"""

from __future__ import annotations

import re
from typing import Final

from cloudstack_hyperv.cim.constants import NAMESPACE_VIRTUALIZATION
from cloudstack_hyperv.fieldwork.recording.pseudonyms import Role

GUID: Final = re.compile(
    r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Fa-f])"
)
CARD_IN_PATH: Final = re.compile(
    rf"Msvm_(?:ExternalEthernetPort|WiFiPort)\.[^<]*?DeviceID=[^<]*?({GUID.pattern})"
)
"""A network card's GUID in the path of its port."""
_GUID_VERSION: Final = 14
MAC: Final = re.compile(
    r"[0-9A-Fa-f]{12}|[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}"
)
_FOLDER: Final = re.compile(r"[A-Za-z]:\\.+|\\\\[^\\?.].*")
_COMMON_FOLDERS: Final = re.compile(
    r"[A-Za-z]:\\(?:Users\\Public|Users\Z|ProgramData\\Microsoft|Windows|Program Files)(?:\\|\Z)",
    re.IGNORECASE,
)
_NOBODY: Final = re.compile(
    r"""
    [-+]?[0-9.,]+ | true | false
    | [0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[-+][0-9:]+)?   # ISO time
    | P[0-9DTHMS.]+ | [0-9]{8,14}\.[0-9]{6}[-+:*0-9]+         # interval, CIM time
    | [A-Za-z]:\\? | \{?[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}?
    | (?:Win32|Msvm|MSFT|CIM)_\w+ | OK | [0-9A-Fa-f]*:[0-9A-Fa-f:.]*(?:%[0-9]+)?   # IPv6
    | \*\*\*                                                   # masked already
    """,
    re.VERBOSE | re.IGNORECASE,
)

_SERIALS: Final = re.compile(r".*(?:Serial|Identifying|AssetTag|ProcessorId|SKUNumber).*")
"""Properties whose numbers are somebody's."""

_HOST_NAMES: Final = frozenset({"CSName", "DNSHostName", "SystemName", "PSComputerName"})
_USER_NAMES: Final = frozenset(
    {
        "Owner",
        "Organization",
        "PrimaryOwnerContact",
        "PrimaryOwnerName",
        "RegisteredUser",
        "User",
        "UserName",
    }
)
_NAMED_CLASSES: Final = frozenset(
    {
        "Msvm_ComputerSystem",
        "Msvm_EthernetSwitchPort",
        "Msvm_ExternalEthernetPort",
        "Msvm_InternalEthernetPort",
        "Msvm_SummaryInformation",
        "Msvm_VirtualEthernetSwitch",
        "Msvm_VirtualEthernetSwitchSettingData",
        "Msvm_VirtualSystemSettingData",
        "Msvm_WiFiPort",
    }
)
_NAMES_OF_THINGS: Final = frozenset({"ElementName", "SwitchName", "VirtualSwitchNames"})
_FREE_TEXTS: Final = re.compile(r"Notes|.*WW[NP]N.*")
"""What operators write, and names of Fibre Channel ports, which hosts make of their addresses."""
_FOLDERS: Final = re.compile(r".*(?:Root|Path|Folder|Directory)")
_IDENTITIES: Final = frozenset(
    {
        ("Msvm_ComputerSystem", "Name"),
        ("Msvm_ExternalEthernetPort", "DeviceID"),
        ("Msvm_InternalEthernetPort", "DeviceID"),
        ("Msvm_SummaryInformation", "Name"),
        ("Msvm_VirtualEthernetSwitch", "Name"),
        ("Msvm_VirtualEthernetSwitchSettingData", "VirtualSystemIdentifier"),
        ("Msvm_VirtualSystemSettingData", "VirtualSystemIdentifier"),
        ("Msvm_WiFiPort", "DeviceID"),
    }
)
_KEPT_ELSEWHERE: Final = frozenset(
    {
        ("Win32_ComputerSystem", "Manufacturer"),
        ("Win32_ComputerSystem", "Model"),
        ("Win32_ComputerSystem", "SystemType"),
        ("Win32_OperatingSystem", "Caption"),
        ("Win32_OperatingSystem", "Manufacturer"),
        ("Win32_OperatingSystem", "MUILanguages"),
        ("Win32_OperatingSystem", "OSArchitecture"),
        ("Win32_Processor", "Caption"),
        ("Win32_Processor", "Description"),
        ("Win32_Processor", "DeviceID"),
        ("Win32_Processor", "Manufacturer"),
        ("Win32_Processor", "Name"),
        ("Win32_Volume", "FileSystem"),
    }
)
_STATUS: Final = "__ExtendedStatus"
"""WMI's own words in a fault, in any namespace."""
_KEPT_ANYWHERE: Final = frozenset({"BuildType", "Status", "Version"})


def roles_of(namespace: str, class_name: str, name: str, text: str) -> Role | None:
    """Return as what a property's text has to be replaced, None if it stays.

    A GUID role means the GUIDs inside the text, a user's may have a domain before a backslash.
    """
    if not text.strip():
        return None
    if MAC.fullmatch(text):
        return Role.MAC
    if name in _HOST_NAMES or (class_name, name) in (
        ("Win32_ComputerSystem", "Name"),
        ("Win32_ComputerSystem", "Caption"),
    ):
        return None if GUID.search(text) else Role.HOST
    if class_name == "Msvm_ComputerSystem" and name == "Name" and not GUID.search(text):
        return Role.HOST
    if name in _USER_NAMES:
        return Role.USER
    if class_name == _STATUS:
        return None
    if namespace.lower() == NAMESPACE_VIRTUALIZATION:
        return _hyperv_role(class_name, name, text)
    return _other_role(class_name, name, text)


def is_secret_guid(guid: str) -> bool:
    """Whether a UUID is of version 1, which is made of a MAC address and a time."""
    return guid[_GUID_VERSION] == "1"


def is_private_folder(path: str) -> bool:
    """Whether a text is a folder that Windows itself did not choose."""
    return _FOLDER.fullmatch(path) is not None and _COMMON_FOLDERS.match(path) is None


def _hyperv_role(class_name: str, name: str, text: str) -> Role | None:
    if class_name in _NAMED_CLASSES and name in _NAMES_OF_THINGS:
        return Role.THING
    if class_name == "Msvm_ExternalEthernetPort" and name == "Name":
        return Role.THING
    if _FREE_TEXTS.fullmatch(name):
        return Role.TEXT
    if (class_name, name) in _IDENTITIES:
        return Role.GUID
    if _FOLDERS.fullmatch(name) and is_private_folder(text):
        return Role.FOLDER
    return None


def _other_role(class_name: str, name: str, text: str) -> Role | None:
    if class_name == "Win32_ComputerSystem" and name in ("Domain", "Workgroup"):
        return None if text.upper() == "WORKGROUP" else Role.DOMAIN
    if GUID.search(text):
        return Role.GUID
    if (class_name, name) in _KEPT_ELSEWHERE or name in _KEPT_ANYWHERE:
        return None
    if name.endswith(("CreationClassName", "ReturnValue")):
        return None
    if _NOBODY.fullmatch(text) and not _SERIALS.fullmatch(name):
        return None
    return Role.TEXT
