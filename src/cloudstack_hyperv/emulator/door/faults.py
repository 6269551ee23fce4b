"""SOAP faults as Windows words them: subcode, detail code, texts, and what a WMI provider adds.

A client finds four layers and reads whichever it knows: the SOAP subcode, the WS-Man fault detail
URI, Microsoft's `WSManFault` with a code in decimal, and, when WMI or a provider refused, a
`ProviderFault` with the HRESULT inside, repeated on newer stacks as `MSFT_WmiError`.

Sources: for the shape, Windows answers kept in the tests of Microsoft's OMI (wsman client, Server
2012 R2) and pywinrm (MSFT_WmiError), and in those of the Ruby winrm client (WQL on an unknown
class).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import quoteattr

from cloudstack_hyperv.emulator.cim.errors import SelectorFault, SelectorProblem
from cloudstack_hyperv.emulator.cim.provider import CimFault, WmiCode
from cloudstack_hyperv.emulator.door import uris
from cloudstack_hyperv.emulator.door.fault_table import (
    ACCESS_DENIED,
    ACTION_NOT_SUPPORTED,
    CANNOT_PROCESS_FILTER,
    INSUFFICIENT_SELECTORS,
    NOT_A_SINGLETON,
    PROVIDER_ACCESS_DENIED,
    PROVIDER_INVALID_PARAMETER,
    PROVIDER_NOT_CAPABLE,
    RESOURCE_NOT_FOUND,
    SELECTOR_TYPE_MISMATCH,
    UNEXPECTED_SELECTORS,
    FaultKind,
)
from cloudstack_hyperv.emulator.door.scalars import xml_text

_ACTIONS: Final = {
    "s": uris.ADDRESSING + "/fault",
    "a": uris.ADDRESSING + "/fault",
    "x": uris.TRANSFER + "/fault",
    "n": uris.ENUMERATION + "/fault",
    "e": uris.EVENTING + "/fault",
    "w": "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault",
}


@dataclass(frozen=True, slots=True)
class WmiLayer:
    """What WMI adds to a fault when it, or a provider, refused."""

    hresult: int
    operation: str
    """WMI's name for what was tried: GetObject, ExecQuery, ExecMethod ..."""
    parameter_info: str = ""
    """Query text or object path."""
    description: str = ""
    """The provider's own words."""


class WsmanFault(Exception):
    """A request is refused."""

    def __init__(
        self,
        kind: FaultKind,
        wmi: WmiLayer | None = None,
        *,
        not_understood: tuple[str, str] | None = None,
    ) -> None:
        words = wmi.description if wmi is not None and wmi.description else kind.reason
        super().__init__(f"{kind.subcode or kind.soap_code} {words}")
        self.kind = kind
        self.wmi = wmi
        self.not_understood = not_understood
        """Namespace and local name of the header, for MustUnderstand faults."""

    @property
    def action(self) -> str:
        """`a:Action` of the answer."""
        return _ACTIONS[(self.kind.subcode or self.kind.soap_code).partition(":")[0]]


_INNER_TEXTS: Final = {
    WmiCode.INVALID_CLASS: "The specified class does not exist in the given namespace.",
    WmiCode.INVALID_NAMESPACE: "The specified namespace does not exist.",
}
_KINDS: Final = {
    WmiCode.NOT_FOUND: RESOURCE_NOT_FOUND,
    WmiCode.INVALID_CLASS: RESOURCE_NOT_FOUND,
    WmiCode.INVALID_NAMESPACE: RESOURCE_NOT_FOUND,
    WmiCode.INVALID_OBJECT_PATH: RESOURCE_NOT_FOUND,
    WmiCode.ACCESS_DENIED: PROVIDER_ACCESS_DENIED,
    WmiCode.INVALID_PARAMETER: PROVIDER_INVALID_PARAMETER,
    WmiCode.NOT_SUPPORTED: PROVIDER_NOT_CAPABLE,
    0x80041024: PROVIDER_NOT_CAPABLE,
    0x80070005: ACCESS_DENIED,
    0x80070057: PROVIDER_INVALID_PARAMETER,
    WmiCode.INVALID_METHOD: ACTION_NOT_SUPPORTED,
}


def from_wmi(fault: CimFault, operation: str, parameter_info: str = "") -> WsmanFault:
    """Return the fault with which WinRM passes on an HRESULT of WMI.

    For ExecQuery every refusal but that of access is one of the filter.
    """
    if operation == "ExecQuery" and fault.code != WmiCode.ACCESS_DENIED:
        kind = CANNOT_PROCESS_FILTER
    elif fault.code in _KINDS:
        kind = _KINDS[fault.code]
    else:
        text = (
            "The WMI service or the WMI provider returned an unknown error: "
            f"HRESULT {fault.code:#010x}"
        )
        kind = FaultKind("w:InternalError", fault.code, text, soap_code="s:Receiver")
    return WsmanFault(kind, WmiLayer(fault.code, operation, parameter_info, fault.description))


_SELECTOR_KINDS: Final = {
    SelectorProblem.UNKNOWN_NAME: UNEXPECTED_SELECTORS,
    SelectorProblem.INCOMPLETE: INSUFFICIENT_SELECTORS,
    SelectorProblem.BAD_VALUE: SELECTOR_TYPE_MISMATCH,
    SelectorProblem.AMBIGUOUS: NOT_A_SINGLETON,
}


def from_selectors(fault: SelectorFault) -> WsmanFault:
    """Return the fault for selectors that address no instance."""
    return WsmanFault(_SELECTOR_KINDS[fault.problem])


def fault_body(fault: WsmanFault, machine: str, language: str, namespace: str) -> str:
    """Return the children of s:Body; `namespace` is the WMI namespace of __ExtendedStatus."""
    kind = fault.kind
    subcode = f"<s:Subcode><s:Value>{kind.subcode}</s:Value></s:Subcode>" if kind.subcode else ""
    detail = ""
    if kind.detail:
        detail = f"<w:FaultDetail>{uris.FAULT_DETAIL}{kind.detail}</w:FaultDetail>"
    if fault.wmi is None:
        message, error = xml_text(kind.reason), ""
    else:
        message = _provider_fault(fault.wmi, kind, machine, namespace)
        error = _wmi_error(fault.wmi, kind)
    return (
        f"<s:Fault><s:Code><s:Value>{kind.soap_code}</s:Value>{subcode}</s:Code>"
        f"<s:Reason><s:Text xml:lang={quoteattr(language)}>{xml_text(kind.reason)}</s:Text>"
        f"</s:Reason><s:Detail>{detail}{_wsman_fault(kind.code, machine, message)}{error}"
        "</s:Detail></s:Fault>"
    )


def _wsman_fault(code: int, machine: str, message: str) -> str:
    return (
        f'<f:WSManFault xmlns:f="{uris.MS_FAULT}" Code="{code}" Machine={quoteattr(machine)}>'
        f"<f:Message>{message}</f:Message></f:WSManFault>"
    )


def _provider_fault(wmi: WmiLayer, kind: FaultKind, machine: str, namespace: str) -> str:
    inner_text = xml_text(_INNER_TEXTS.get(wmi.hresult, kind.reason))
    status_class = uris.class_uri(namespace or uris.DEFAULT_NAMESPACE, "__ExtendedStatus")
    return (
        '<f:ProviderFault provider="WMI Provider" path="%systemroot%\\system32\\WsmWmiPl.dll">'
        f"{_wsman_fault(wmi.hresult, machine, inner_text)}"
        f'<f:ExtendedError><p:__ExtendedStatus xmlns:xsi="{uris.XSI}" '
        f'xmlns:p="{status_class}" xmlns:cim="{uris.CIM_COMMON}" '
        'xsi:type="p:__ExtendedStatus_Type">'
        f"{_status('Description', wmi.description)}{_status('Operation', wmi.operation)}"
        f"{_status('ParameterInfo', wmi.parameter_info)}{_status('ProviderName', 'WinMgmt')}"
        '<p:StatusCode xsi:nil="true"/></p:__ExtendedStatus></f:ExtendedError></f:ProviderFault>'
    )


def _status(name: str, text: str) -> str:
    return f"<p:{name}>{xml_text(text)}</p:{name}>" if text else f'<p:{name} xsi:nil="true"/>'


_CIM_STATUS: Final = {
    WmiCode.ACCESS_DENIED: 2,
    WmiCode.INVALID_NAMESPACE: 3,
    WmiCode.INVALID_PARAMETER: 4,
    WmiCode.INVALID_CLASS: 5,
    WmiCode.NOT_FOUND: 6,
    WmiCode.NOT_SUPPORTED: 7,
    WmiCode.INVALID_QUERY: 15,
    WmiCode.INVALID_METHOD: 17,
}
_CIM_FAILED: Final = 1


def _wmi_error(wmi: WmiLayer, kind: FaultKind) -> str:
    status = _CIM_STATUS.get(wmi.hresult, _CIM_FAILED)
    reason = xml_text(_INNER_TEXTS.get(wmi.hresult, kind.reason))
    return (
        f'<p:MSFT_WmiError b:IsCIM_Error="true" xmlns:xsi="{uris.XSI}" '
        f'xmlns:b="{uris.CIM_BINDING}" xmlns:p="{uris.WMI_ERROR}" xmlns:cim="{uris.CIM_COMMON}" '
        'xsi:type="p:MSFT_WmiError_Type">'
        f'<p:CIMStatusCode xsi:type="cim:cimUnsignedInt">{status}</p:CIMStatusCode>'
        '<p:CIMStatusCodeDescription xsi:type="cim:cimString" xsi:nil="true"/>'
        '<p:ErrorSource xsi:type="cim:cimString" xsi:nil="true"/>'
        '<p:ErrorSourceFormat xsi:type="cim:cimUnsignedShort">0</p:ErrorSourceFormat>'
        '<p:ErrorType xsi:type="cim:cimUnsignedShort">0</p:ErrorType>'
        f'<p:Message xsi:type="cim:cimString">{reason}</p:Message>'
        f'<p:MessageID xsi:type="cim:cimString">HRESULT {wmi.hresult:#010x}</p:MessageID>'
        '<p:OtherErrorSourceFormat xsi:type="cim:cimString" xsi:nil="true"/>'
        '<p:OtherErrorType xsi:type="cim:cimString" xsi:nil="true"/>'
        '<p:OwningEntity xsi:type="cim:cimString" xsi:nil="true"/>'
        '<p:PerceivedSeverity xsi:type="cim:cimUnsignedShort">0</p:PerceivedSeverity>'
        '<p:ProbableCause xsi:type="cim:cimUnsignedShort">0</p:ProbableCause>'
        '<p:ProbableCauseDescription xsi:type="cim:cimString" xsi:nil="true"/>'
        '<p:error_Category xsi:type="cim:cimUnsignedInt">30</p:error_Category>'
        f'<p:error_Code xsi:type="cim:cimUnsignedInt">{kind.code}</p:error_Code>'
        '<p:error_Type xsi:type="cim:cimString">HRESULT</p:error_Type>'
        f'<p:error_WindowsErrorMessage xsi:type="cim:cimString">{xml_text(kind.reason)}'
        "</p:error_WindowsErrorMessage></p:MSFT_WmiError>"
    )
