"""The refusals of the WS-Management service: subcode, code, fault detail and text of each.

Source: wsmerror.h of the Windows SDK, whose comments name the subcode and detail of most codes;
DSP0226 for the others.  Texts are those that Windows shows in English.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloudstack_hyperv.emulator.cim.provider import WmiCode


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One row of the fault table."""

    subcode: str
    """Prefixed as in the answer; "" for faults that are a SOAP code of their own."""
    code: int
    """`Code` of WSManFault."""
    reason: str
    detail: str = ""
    """Last part of the FaultDetail URI; "" for none."""
    soap_code: str = "s:Sender"


_CANNOT: Final = "The WS-Management service cannot process the request"

ACCESS_DENIED = FaultKind("w:AccessDenied", 5, "Access is denied.")
RESOURCE_NOT_FOUND = FaultKind(
    "a:DestinationUnreachable",
    0x80338000,
    f"{_CANNOT}. The service cannot find the resource identified by the resource URI and "
    "selectors.",
    "InvalidResourceURI",
)
INVALID_MESSAGE_HEADER = FaultKind(
    "a:InvalidMessageInformationHeader",
    0x8033800F,
    f"{_CANNOT}. The request contains one or more invalid SOAP headers.",
)
NOT_UNDERSTOOD = FaultKind(
    "",
    0x80338010,
    "The WS-Management service cannot process a SOAP header in the request that is marked as "
    "mustUnderstand by the client. This could be caused by the use of a version of the protocol "
    "which is not supported, or may be an incompatibility between the client and server "
    "implementations.",
    soap_code="s:MustUnderstand",
)
VERSION_MISMATCH = FaultKind(
    "",
    0x8033800D,
    "The WS-Management service does not support the SOAP version specified in the request.",
    soap_code="s:VersionMismatch",
)
HEADER_REQUIRED = FaultKind(
    "a:MessageInformationHeaderRequired",
    0x80338011,
    f"{_CANNOT}. The request does not have all the expected SOAP headers.",
)
ACTION_NOT_SUPPORTED = FaultKind(
    "a:ActionNotSupported",
    0x80338013,
    "The WS-Management service does not support the action specified in the request.",
)
INVALID_REPRESENTATION = FaultKind(
    "x:InvalidRepresentation",
    0x80338015,
    "The WS-Management service cannot identify the format of the object passed to a Put or Create "
    "method. The input XML may not be appropriate for the resource or uses the wrong schema for "
    "the resource. Change the input XML in the request.",
    "InvalidValues",
)
CANNOT_CHANGE_KEYS = FaultKind(
    "x:InvalidRepresentation",
    0x803380ED,
    "The input XML modifies selectors or keys for the instance. You cannot create a new instance "
    "or change the identity of an instance by changing the keys.",
    "InvalidValues",
)
EXPIRATION_UNSUPPORTED = FaultKind(
    "w:UnsupportedFeature",
    0x80338017,
    "The data source does not support expiration time. Remove the expiration time from the request "
    "and try the request again.",
    "ExpirationTime",
)
FILTERING_NOT_SUPPORTED = FaultKind(
    "n:FilteringNotSupported",
    0x80338018,
    "The data source does not support filtering. Remove the filter from the request and try the "
    "request again.",
)
DIALECT_UNAVAILABLE = FaultKind(
    "n:FilterDialectRequestedUnavailable",
    0x80338019,
    "The filter dialect (the type associated with the filter) was not supported for this resource. "
    "Change the filter dialect or remove it from the request and try the request again.",
)
CANNOT_PROCESS_FILTER = FaultKind(
    "n:CannotProcessFilter",
    0x8033801A,
    "The data source could not process the filter. The filter might be missing or it might be "
    "invalid. Change the filter and try the request again.",
)
INVALID_CONTEXT = FaultKind(
    "n:InvalidEnumerationContext",
    0x8033801B,
    "The WS-Enumeration context in the enumeration is not valid. Enumeration may have been "
    "completed or canceled. You cannot use this enumeration context anymore. Start a new "
    "enumeration.",
    soap_code="s:Receiver",
)
INVALID_BODY = FaultKind(
    "w:SchemaValidationError",
    0x80338027,
    f"{_CANNOT} because the request packet does not have a valid SOAP body.",
)
TIMED_OUT = FaultKind(
    "w:TimedOut",
    0x80338029,
    "The WS-Management service cannot complete the operation within the time specified in "
    "OperationTimeout.",
    soap_code="s:Receiver",
)
UNSUPPORTED_ENCODING = FaultKind(
    "w:EncodingLimit",
    0x8033802C,
    "The request contains character encoding that is unsupported. WS-Management only supports "
    "requests that are encoded in UTF-8 or UTF-16. Change the character encoding in the request "
    "and try the request again.",
    "CharacterSet",
)
ACTION_MISMATCH = FaultKind(
    "w:ActionMismatch",
    0x80338031,
    f"{_CANNOT} because the WS-Addressing Action URI in the request is not compatible with the "
    "resource.",
)
INVALID_OPTIONS = FaultKind(
    "w:InvalidOptions",
    0x80338051,
    "The WS-Management provider does not support the specified option set because mustComply for "
    "one of the options is set to true. Change mustComply for one of the options to false.",
    "NotSupported",
)
INVALID_PARAMETER = FaultKind(
    "w:InvalidParameter",
    0x8033803A,
    f"{_CANNOT} because a parameter for the operation is not valid.",
)
INVALID_PARAMETER_NAME = FaultKind(
    "w:InvalidParameter", 0x80338055, f"{_CANNOT}. A parameter name is invalid.", "InvalidName"
)
PARAMETER_TYPE_MISMATCH = FaultKind(
    "w:InvalidParameter",
    0x80338054,
    f"{_CANNOT}. A parameter that is required for the operation is not the correct type.",
    "TypeMismatch",
)
INVALID_RESOURCE_URI = FaultKind(
    "a:DestinationUnreachable",
    0x8033803B,
    f"{_CANNOT}. The resource URI is missing or it has an incorrect format. Check the "
    "documentation or use the following command for information on how to construct a resource "
    'URI: "winrm help uris".',
    "InvalidResourceURI",
)
INVALID_SELECTORS = FaultKind(
    "w:InvalidSelectors",
    0x8033803D,
    f"{_CANNOT} because the selectors for the resource are not valid.",
)
INSUFFICIENT_SELECTORS = FaultKind(
    "w:InvalidSelectors",
    0x8033805A,
    f"{_CANNOT} because the request did not contain all required selectors.",
    "InsufficientSelectors",
)
UNEXPECTED_SELECTORS = FaultKind(
    "w:InvalidSelectors",
    0x8033805B,
    f"{_CANNOT} because the request contained invalid selectors for the resource.",
    "UnexpectedSelectors",
)
SELECTOR_TYPE_MISMATCH = FaultKind(
    "w:InvalidSelectors",
    0x8033805C,
    f"{_CANNOT} because a value for a selector is of the wrong type.",
    "TypeMismatch",
)
DUPLICATE_SELECTORS = FaultKind(
    "w:InvalidSelectors",
    0x8033805F,
    f"{_CANNOT} because the request contains duplicate selectors.",
    "DuplicateSelectors",
)
DIFFERENT_NAMESPACE = FaultKind(
    "w:InvalidSelectors",
    0x8033813B,
    f"{_CANNOT}. The resource URI and __cimnamespace selector attempted to use different "
    "namespaces. Try removing the __cimnamespace selector or using a DMTF resource URI. If a "
    "non-DMTF resource URI is used with a __cimnamespace selector, the namespaces must match.",
    "InvalidValue",
)
NOT_A_DMTF_CLASS = FaultKind(
    "a:DestinationUnreachable",
    0x80338139,
    f"{_CANNOT}. A DMTF resource URI was used to access a non-DMTF class. Try again using a "
    "non-DMTF resource URI.",
    "InvalidResourceURI",
)
NOT_A_SINGLETON = FaultKind(
    "a:DestinationUnreachable",
    0x803380FA,
    "The WinRM client cannot process the request. The resource URI is not valid: it does not "
    "contain keys, but the class selected is not a singleton. To access an instance which is not a "
    "singleton, keys must be provided. Use the following command to get more information in how to "
    'construct a resource URI: "winrm help uris".',
    "InvalidResourceURI",
)
WQL_NEEDS_WILDCARD = FaultKind(
    "a:DestinationUnreachable",
    0x803380FB,
    "The WinRM client cannot process the request. The resource URI for an enumeration operation "
    "with WQL filter must not contain keys and the class name must be '*' (star). Use the "
    'following command to get more information in how to construct a resource URI: "winrm help '
    'uris".',
    "InvalidResourceURI",
)
ENUMERATE_WITH_KEYS = FaultKind(
    "w:InvalidSelectors",
    0x80338108,
    f"{_CANNOT}. The resource URI for an Enumerate operation must not contain keys.",
    "UnexpectedSelectors",
)
QUOTA_LIMIT = FaultKind(
    "w:QuotaLimit",
    0x8033803F,
    "The WS-Management service is busy servicing other requests. Retry later.",
)
SCHEMA_VALIDATION = FaultKind(
    "w:SchemaValidationError",
    0x80338041,
    "The SOAP XML in the message does not match the corresponding XML schema definition. Change "
    "the XML and retry.",
)
INVALID_XML = FaultKind(
    "w:SchemaValidationError", 0x80338043, f"{_CANNOT} because the XML is invalid."
)
UNSUPPORTED_FEATURE = FaultKind(
    "w:UnsupportedFeature",
    0x80338042,
    "The WS-Management service does not support the specified feature. Remove the unsupported "
    "feature from the request and retry.",
)
ADDRESSING_MODE = FaultKind(
    "w:UnsupportedFeature",
    0x80338076,
    "The WS-Management service does not support the addressing mode.",
    "AddressingMode",
)
FRAGMENT_TRANSFER = FaultKind(
    "w:UnsupportedFeature",
    0x80338077,
    "The WS-Management service does not support fragment transfer.",
    "FragmentLevelAccess",
)
LOCALE_UNSUPPORTED = FaultKind(
    "w:UnsupportedFeature",
    0x80338087,
    "The WS-Management service cannot guarantee that all data is returned in the requested locale "
    "as some data sources may not be able to comply. Resend the remote request with locale as a "
    'hint (the SOAP header should have mustUnderstand="false")',
    "Locale",
)
ENUMERATION_MODE = FaultKind(
    "w:UnsupportedFeature",
    0x80338086,
    "The WS-Management service does not support the specified enumeration mode.",
    "EnumerationMode",
)
POLYMORPHISM_MODE = FaultKind(
    "w:UnsupportedFeature",
    0x80338137,
    "The WS-Management service does not support the specified polymorphism mode. Try changing the "
    "polymorphism mode specified, and try again.",
)
RESPONSE_TOO_LARGE = FaultKind(
    "w:EncodingLimit",
    0x80338048,
    "The response that the WS-Management service computed exceeds the maximum envelope size in the "
    "request.",
    "MaxEnvelopeSizeExceeded",
)
SERVER_ENVELOPE_LIMIT = FaultKind(
    "w:EncodingLimit",
    0x80338049,
    "The response that the WS-Management service computed exceed the internal limit for envelope "
    "size.",
    "ServiceEnvelopeLimit",
)
ENVELOPE_TOO_SMALL = FaultKind(
    "w:EncodingLimit",
    0x8033807E,
    f"{_CANNOT} because the envelope size in the request is too small.",
    "MinimumEnvelopeLimit",
)
INVALID_TIMEOUT = FaultKind(
    "w:InvalidParameter",
    0x80338081,
    f"{_CANNOT} because the timeout header in the request is invalid.",
    "InvalidTimeout",
)
MAX_ELEMENTS = FaultKind(
    "w:UnsupportedFeature",
    0x8033811D,
    "The WS-Management service received a request which specified a maximum number of elements, "
    "but the service does not support this feature. Retry the request without this element "
    "specified.",
    "MaxElements",
)
INTERNAL_ERROR = FaultKind(
    "w:InternalError",
    WmiCode.FAILED,
    "The WMI service or the WMI provider returned an unknown error: HRESULT 0x80041001",
    soap_code="s:Receiver",
)
PROVIDER_NOT_CAPABLE = FaultKind(
    "a:ActionNotSupported",
    0x80338102,
    f"{_CANNOT}. The WMI service reported that the WMI provider could not perform the requested "
    "operation.",
)
PROVIDER_ACCESS_DENIED = FaultKind(
    "w:AccessDenied",
    0x80338105,
    f"{_CANNOT}. The WMI provider returned an 'access denied' error.",
)
PROVIDER_INVALID_PARAMETER = FaultKind(
    "w:InvalidParameter",
    0x8033811E,
    f"{_CANNOT}. The WMI provider returned an 'invalid parameter' error.",
)
