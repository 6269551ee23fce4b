"""Every deliberate leniency of the emulated host, by name, with the source that Windows has it too.

The rule of this package is: what is unknown, misplaced or mistyped is refused.  Whoever wants to
accept more adds a row here, a test, and asks `Leniencies.grants` at the place in question.  A host
can be told not to grant one (`DoorSettings.enforced`), so that a test can show who depends on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Leniency:
    """One thing that is accepted although the specification, or good order, would refuse it."""

    name: str
    what: str
    source: str


_TABLE: Final = (
    Leniency(
        "input-element-namespace",
        "the Method_INPUT element may be in any namespace; its children may not",
        "virt-who sends <wsman:GetSummaryInformation_INPUT> and is served",
    ),
    Leniency(
        "input-body-absent",
        "a method without required parameters may be invoked with an empty SOAP body",
        "guess, from Microsoft's OMI server, which reads an empty body as no parameters",
    ),
    Leniency(
        "cimnamespace-selector",
        "a __cimnamespace selector in a reference or in the header is not counted as a key",
        "libvirt puts one into every reference parameter (hyperv_wmi.c); DSP0227 defines it",
    ),
    Leniency(
        "uri-letter-case",
        "namespace and class of a resource URI in any letter case",
        r"libvirt writes Root\Virtualization\V2; WMI names have no letter case",
    ),
    Leniency(
        "partial-service-key",
        "methods of a class with a single instance may be addressed with a part of its key",
        "libvirt sends CreationClassName alone to Msvm_VirtualSystemManagementService; virt-who "
        "and go-wsman leave out SystemName",
    ),
    Leniency(
        "singleton-without-key",
        "Get of a class that has exactly one instance needs no selectors",
        "`winrm get wmicimv2/Win32_OperatingSystem` (Microsoft, WinRM examples)",
    ),
    Leniency(
        "pull-names-other-resource",
        "Pull and Release may name another resource than their Enumerate",
        "libvirt enumerates /* and pulls with the class URI, or with that of the next call",
    ),
    Leniency(
        "pull-foreign-elements",
        "elements of other namespaces inside Pull are ignored, so there is one item a Pull",
        "WS-Enumeration's schema allows them; Dell's python-wsmanclient sends w:MaxElements there",
    ),
    Leniency(
        "content-type-absent",
        "a request without Content-Type is read as SOAP in UTF-8",
        "Dell's python-wsmanclient sends none; that Windows takes it is a guess",
    ),
    Leniency(
        "boolean-letter-case",
        "true and false in any letter case, in parameters and in embedded instances",
        "libvirt sends Force `False`; go-wsman's notes: TRUE and true are both accepted",
    ),
    Leniency(
        "embedded-declaration",
        "XML declaration and white space in the text of an embedded instance",
        "libvirt serialises each embedded instance as an indented XML document",
    ),
    Leniency(
        "embedded-superclass-name",
        "an embedded instance may name a superclass of the class that is meant",
        "libvirt attaches disks as Msvm_ResourceAllocationSettingData with ResourceType 31",
    ),
    Leniency(
        "reference-address",
        "the Address inside a reference may be any URI",
        "the receiver's own addresses are all local; Windows reads only ReferenceParameters",
    ),
    Leniency(
        "octet-string-as-numbers",
        "an octet string parameter may come as repeated numbers instead of one base64 text",
        "guess: which form Windows wants is not recorded, so both are taken",
    ),
    Leniency(
        "datetime-forms",
        "a datetime parameter as cim:Datetime, cim:Interval or plain text",
        "DSP0230 allows each of them as content of a cimDateTime",
    ),
)

LENIENCIES: Final = {each.name: each for each in _TABLE}


class Leniencies:
    """The leniencies that one host grants."""

    def __init__(self, enforced: Iterable[str] = ()) -> None:
        unknown = set(enforced) - LENIENCIES.keys()
        if unknown:
            raise ValueError(f"no such leniency: {', '.join(sorted(unknown))}")
        self._refused = frozenset(enforced)

    def grants(self, name: str) -> bool:
        """Whether the host is lenient in this point; `name` must be in the table."""
        if name not in LENIENCIES:
            raise KeyError(name)
        return name not in self._refused
