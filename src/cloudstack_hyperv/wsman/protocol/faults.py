"""SOAP faults as typed errors, told apart by the innermost code.

A fault is an onion: SOAP subcode, WSManFault code, and when a WMI provider failed a nested
WSManFault with its HRESULT or an MSFT_WmiError.  The inner number tells what happened (class
unknown, access denied), the outer one only where; so it is looked up from the inside out.

Sources: DMTF DSP0226 annex; Microsoft wsmerror.h and WbemCli.h (numbers), [MS-WSMV] 2.2.4.43.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.etree import ElementTree as ET

from cloudstack_hyperv.wsman.errors import (
    AccessDenied,
    DeadlineExceeded,
    EnumerationLost,
    FaultDetail,
    NotFound,
    ProviderUnavailable,
    QueryRefused,
    QuotaExceeded,
    UnknownClass,
    WsmanError,
    WsmanFault,
)
from cloudstack_hyperv.wsman.protocol.names import MS_FAULT, SOAP, WSMAN
from cloudstack_hyperv.wsman.protocol.xmltext import local_name

_SOAP = f"{{{SOAP}}}"
_WSMAN_FAULT = f"{{{MS_FAULT}}}WSManFault"
_PROVIDER_FAULT = f"{{{MS_FAULT}}}ProviderFault"
_MESSAGE = f"{{{MS_FAULT}}}Message"
_REASON_LIMIT = 2000

WBEM_E_INVALID_QUERY: Final = 0x80041017

_TIMED_OUT: Final = frozenset({2150858793, 2150859046})
"""ERROR_WSMAN_OPERATION_TIMEDOUT, ERROR_WSMAN_NETWORK_TIMEDOUT."""

_BY_CODE: Final[dict[int, type[WsmanFault]]] = {
    0x80041002: NotFound,  # WBEM_E_NOT_FOUND
    2150858770: NotFound,  # ERROR_WSMAN_DESTINATION_UNREACHABLE
    2150858813: NotFound,  # ERROR_WSMAN_INVALID_SELECTORS
    0x8004100E: UnknownClass,  # WBEM_E_INVALID_NAMESPACE
    0x80041010: UnknownClass,  # WBEM_E_INVALID_CLASS
    2150858811: UnknownClass,  # ERROR_WSMAN_INVALID_RESOURCE_URI
    5: AccessDenied,  # ERROR_ACCESS_DENIED
    0x80070005: AccessDenied,  # E_ACCESSDENIED
    0x80041003: AccessDenied,  # WBEM_E_ACCESS_DENIED
    2150859012: AccessDenied,  # ERROR_WSMAN_WMI_CANNOT_CONNECT_ACCESS_DENIED
    2150859013: AccessDenied,  # ERROR_WSMAN_WMI_INVALID_PROVIDER_ACCESS
    2150859014: AccessDenied,  # ERROR_WSMAN_WMI_PROVIDER_ACCESS_DENIED
    WBEM_E_INVALID_QUERY: QueryRefused,
    0x80041018: QueryRefused,  # WBEM_E_INVALID_QUERY_TYPE
    2150858777: QueryRefused,  # ERROR_WSMAN_FILTERING_NOT_SUPPORTED / dialect unavailable
    2150858778: QueryRefused,  # ERROR_WSMAN_CANNOT_PROCESS_FILTER
    2150859042: QueryRefused,  # CannotProcessFilter of the WMI plug-in
    2150858779: EnumerationLost,  # ERROR_WSMAN_INVALID_ENUMERATION_CONTEXT
    0x8004106C: QuotaExceeded,  # WBEM_E_QUOTA_VIOLATION
    2150858790: QuotaExceeded,  # ERROR_WSMAN_ENVELOPE_TOO_LARGE
    2150858815: QuotaExceeded,  # ERROR_WSMAN_QUOTA_LIMIT
    2150858823: QuotaExceeded,  # the answer is beyond MaxEnvelopeSize (three kinds)
    2150858824: QuotaExceeded,
    2150858825: QuotaExceeded,
    2150859173: QuotaExceeded,  # operations per user
    0x80041013: ProviderUnavailable,  # WBEM_E_PROVIDER_LOAD_FAILURE
    0x80041014: ProviderUnavailable,  # WBEM_E_INITIALIZATION_FAILURE
    0x800706BA: ProviderUnavailable,  # RPC_S_SERVER_UNAVAILABLE
    0x800706BE: ProviderUnavailable,  # RPC_S_CALL_FAILED
}

_BY_SUBCODE: Final[dict[str, type[WsmanFault]]] = {
    "DestinationUnreachable": NotFound,
    "InvalidSelectors": NotFound,
    "AccessDenied": AccessDenied,
    "CannotProcessFilter": QueryRefused,
    "FilterDialectRequestedUnavailable": QueryRefused,
    "FilteringNotSupported": QueryRefused,
    "InvalidEnumerationContext": EnumerationLost,
    "QuotaLimit": QuotaExceeded,
    "EncodingLimit": QuotaExceeded,
}

_PREFIX: Final = {
    "ActionNotSupported": "a",
    "DestinationUnreachable": "a",
    "EndpointUnavailable": "a",
    "InvalidMessageInformationHeader": "a",
    "MessageInformationHeaderRequired": "a",
    "FilterDialectRequestedUnavailable": "n",
    "FilteringNotSupported": "n",
    "InvalidEnumerationContext": "n",
    "InvalidExpirationTime": "n",
    "UnsupportedExpirationType": "n",
    "InvalidRepresentation": "x",
}
"""The letters that Windows uses; other implementations choose others for the same names."""


def read_fault(fault: ET.Element) -> WsmanError:
    """Return the error for an s:Fault element: a WsmanFault, or DeadlineExceeded for TimedOut."""
    subcode = _subcode(fault)
    name = subcode.rpartition(":")[2]
    codes = list(_codes(fault))
    code = codes[0] if codes else 0
    detail = FaultDetail(
        subcode=subcode,
        code=code,
        reason=_reason(fault),
        provider=next((found.get("provider", "") for found in fault.iter(_PROVIDER_FAULT)), ""),
        detail_uri=(fault.findtext(f"{_SOAP}Detail/{{{WSMAN}}}FaultDetail") or "").strip(),
    )
    kind = next((_BY_CODE[found] for found in codes if found in _BY_CODE), None)
    if kind is None and (name == "TimedOut" or _TIMED_OUT.intersection(codes)):
        return DeadlineExceeded(f"the host's operation timed out: {detail.reason}")
    return (kind or _BY_SUBCODE.get(name, WsmanFault))(detail)


def _codes(fault: ET.Element) -> Iterator[int]:
    """Yield the numbers from the innermost outwards, none twice."""
    nested = [found.get("Code", "") for found in fault.iter(_WSMAN_FAULT)]
    wmi = [
        element.text or ""
        for element in fault.iter()
        if local_name(element) in ("error_Code", "StatusCode")
    ]
    # fault.iter() goes from the outside in: the provider's WSManFault is the last one.
    inner, outer = nested[1:], nested[:1]
    seen: set[int] = set()
    for text in (*reversed(inner), *wmi, *outer):
        try:
            code = int(text) & 0xFFFFFFFF
        except ValueError:
            continue
        if code and code not in seen:
            seen.add(code)
            yield code


def _subcode(fault: ET.Element) -> str:
    """Return the innermost subcode, or the code, with the prefix that Windows would use."""
    element = fault.find(f"{_SOAP}Code")
    text = ""
    while element is not None:
        text = (element.findtext(f"{_SOAP}Value") or text).strip()
        element = element.find(f"{_SOAP}Subcode")
    prefix, _, name = text.rpartition(":")
    if prefix == "s" or name in ("Sender", "Receiver", "MustUnderstand", "VersionMismatch"):
        return f"s:{name}"
    if prefix == "n" and name == "CannotProcessFilter":
        return text
    return f"{_PREFIX.get(name, 'w')}:{name}"


def _reason(fault: ET.Element) -> str:
    """Return the text nearest to the cause: the innermost message, else the SOAP reason."""
    messages = [
        " ".join("".join(found.itertext()).split())
        for found in fault.iter(_MESSAGE)
        if found.find(f".//{_MESSAGE}") is None
    ]
    soap = " ".join((fault.findtext(f"{_SOAP}Reason/{_SOAP}Text") or "").split())
    text = next((message for message in reversed(messages) if message), soap)
    return text[:_REASON_LIMIT]
