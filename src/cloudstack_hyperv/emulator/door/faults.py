"""SOAP faults as Windows words them: subcode, detail code, texts, and what a WMI provider adds.

A client finds four layers and reads whichever it knows: the SOAP subcode, the WS-Man fault detail
URI, Microsoft's `WSManFault` with a code in decimal, and, when WMI or a provider refused, a
`ProviderFault` with the HRESULT inside, repeated on newer stacks as `MSFT_WmiError`.

Sources: for the shape, Windows answers kept in the tests of Microsoft's OMI (wsman client, Server
2012 R2) and pywinrm (MSFT_WmiError), and in those of the Ruby winrm client (WQL on an unknown
class).
"""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape, quoteattr

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

_ACTIONS: Final = {
    "s": uris.ADDRESSING + "/fault",
    "a": uris.ADDRESSING + "/fault",
    "x": uris.TRANSFER + "/fault",
    "n": uris.ENUMERATION + "/fault",
    "e": uris.EVENTING + "/fault",
    "w": "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault",
}


class WsmanFault(Exception):
    """A request is refused.

    `description` replaces the table's text; `hresult` (with `operation` and `parameter_info`) says
    that WMI refused, and adds the provider's layer.
    """

    def __init__(
        self,
        kind: FaultKind,
        description: str = "",
        *,
        hresult: int | None = None,
        operation: str = "",
        parameter_info: str = "",
        not_understood: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(f"{kind.subcode or kind.soap_code} {description or kind.reason}")
        self.kind = kind
        self.description = description
        self.hresult = hresult
        self.operation = operation
        self.parameter_info = parameter_info
        self.not_understood = not_understood
        """Namespace and local name of the header, for MustUnderstand faults."""

    @property
    def action(self) -> str:
        """`a:Action` of the answer."""
        return _ACTIONS[(self.kind.subcode or self.kind.soap_code).partition(":")[0]]


_CANNOT: Final = "The WS-Management service cannot process the request."
_NOT_FOUND_TEXTS: Final = {
    WmiCode.INVALID_CLASS: f"{_CANNOT} The specified class does not exist in the given namespace.",
    WmiCode.INVALID_NAMESPACE: f"{_CANNOT} The specified namespace does not exist.",
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

    `operation` is WMI's name for what was tried: GetObject, ExecQuery, ExecMethod,
    CreateInstanceEnum, PutInstance, DeleteInstance.  For ExecQuery every refusal is one of the
    filter.
    """
    description = fault.description or _NOT_FOUND_TEXTS.get(fault.code, "")
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
    return WsmanFault(
        kind,
        description,
        hresult=fault.code,
        operation=operation,
        parameter_info=parameter_info,
    )


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
    reason = fault.description or kind.reason
    subcode = f"<s:Subcode><s:Value>{kind.subcode}</s:Value></s:Subcode>" if kind.subcode else ""
    detail = (
        f"<w:FaultDetail>{uris.FAULT_DETAIL}{kind.detail}</w:FaultDetail>" if kind.detail else ""
    )
    return (
        f"<s:Fault><s:Code><s:Value>{kind.soap_code}</s:Value>{subcode}</s:Code>"
        f"<s:Reason><s:Text xml:lang={quoteattr(language)}>{escape(reason)}</s:Text></s:Reason>"
        f"<s:Detail>{detail}{_wsman_fault(fault, reason, machine, namespace)}"
        f"{_wmi_error(fault, reason)}</s:Detail></s:Fault>"
    )


def _wsman_fault(fault: WsmanFault, reason: str, machine: str, namespace: str) -> str:
    head = (
        f'<f:WSManFault xmlns:f="{uris.MS_FAULT}" Code="{{}}" Machine={quoteattr(machine)}>'
        "<f:Message>"
    )
    tail = "</f:Message></f:WSManFault>"
    if fault.hresult is None:
        return f"{head.format(fault.kind.code)}{escape(reason)}{tail}"
    inner = f"{head.format(fault.hresult)}{escape(reason)}{tail}"
    status_class = uris.class_uri(namespace or uris.DEFAULT_NAMESPACE, "__ExtendedStatus")
    parameter_info = (
        f"<p:ParameterInfo>{escape(fault.parameter_info)}</p:ParameterInfo>"
        if fault.parameter_info
        else '<p:ParameterInfo xsi:nil="true"/>'
    )
    return (
        f"{head.format(fault.kind.code)}"
        '<f:ProviderFault provider="WMI Provider" path="%systemroot%\\system32\\WsmWmiPl.dll">'
        f'{inner}<f:ExtendedError><p:__ExtendedStatus xmlns:xsi="{uris.XSI}" '
        f'xmlns:p="{status_class}" xmlns:cim="{uris.CIM_COMMON}" '
        'xsi:type="p:__ExtendedStatus_Type">'
        f'<p:Description xsi:nil="true"/><p:Operation>{fault.operation}</p:Operation>'
        f"{parameter_info}<p:ProviderName>WinMgmt</p:ProviderName>"
        '<p:StatusCode xsi:nil="true"/></p:__ExtendedStatus></f:ExtendedError></f:ProviderFault>'
        f"{tail}"
    )


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


def _wmi_error(fault: WsmanFault, reason: str) -> str:
    if fault.hresult is None:
        return ""
    status = _CIM_STATUS.get(fault.hresult, _CIM_FAILED)
    return (
        f'<p:MSFT_WmiError b:IsCIM_Error="true" xmlns:xsi="{uris.XSI}" '
        f'xmlns:b="{uris.CIM_BINDING}" xmlns:p="{uris.WMI_ERROR}" xmlns:cim="{uris.CIM_COMMON}" '
        'xsi:type="p:MSFT_WmiError_Type">'
        f'<p:CIMStatusCode xsi:type="cim:cimUnsignedInt">{status}</p:CIMStatusCode>'
        '<p:CIMStatusCodeDescription xsi:type="cim:cimString" xsi:nil="true"/>'
        '<p:ErrorSource xsi:type="cim:cimString" xsi:nil="true"/>'
        '<p:ErrorSourceFormat xsi:type="cim:cimUnsignedShort">0</p:ErrorSourceFormat>'
        '<p:ErrorType xsi:type="cim:cimUnsignedShort">0</p:ErrorType>'
        f'<p:Message xsi:type="cim:cimString">{escape(reason)}</p:Message>'
        f'<p:MessageID xsi:type="cim:cimString">HRESULT {fault.hresult:#010x}</p:MessageID>'
        '<p:OtherErrorSourceFormat xsi:type="cim:cimString" xsi:nil="true"/>'
        '<p:OtherErrorType xsi:type="cim:cimString" xsi:nil="true"/>'
        '<p:OwningEntity xsi:type="cim:cimString" xsi:nil="true"/>'
        '<p:PerceivedSeverity xsi:type="cim:cimUnsignedShort">0</p:PerceivedSeverity>'
        '<p:ProbableCause xsi:type="cim:cimUnsignedShort">0</p:ProbableCause>'
        '<p:ProbableCauseDescription xsi:type="cim:cimString" xsi:nil="true"/>'
        '<p:error_Category xsi:type="cim:cimUnsignedInt">30</p:error_Category>'
        f'<p:error_Code xsi:type="cim:cimUnsignedInt">{fault.kind.code}</p:error_Code>'
        '<p:error_Type xsi:type="cim:cimString">HRESULT</p:error_Type>'
        f'<p:error_WindowsErrorMessage xsi:type="cim:cimString">{escape(fault.kind.reason)}'
        "</p:error_WindowsErrorMessage></p:MSFT_WmiError>"
    )
