"""What can go wrong between us and a host's WMI, as types a caller can act on.

The rule: a method that ran and failed is a ReturnValue, not one of these.  `HypervisorError`
(package `hypervisor`) is the border where these become words for the operator.
"""

from __future__ import annotations

from dataclasses import dataclass


class WsmanError(Exception):
    """Any failure of a WS-Management call."""


class HostUnreachable(WsmanError):
    """No connection, or it broke before the request was sent: the call had no effect."""


class ConnectionLost(WsmanError):
    """The connection broke after the request was sent: whether it took effect is unknown."""


class DeadlineExceeded(WsmanError):
    """Our deadline, or the host's OperationTimeout, passed.

    `request_sent` False: the call was still waiting for a connection and had no effect; True: the
    effect is unknown, the work may go on in the host.
    """

    def __init__(self, message: str, *, request_sent: bool = True) -> None:
        super().__init__(message)
        self.request_sent = request_sent


class AuthenticationFailed(WsmanError):
    """The host refused the credentials or every authentication scheme we may use."""


class ProtocolViolation(WsmanError):
    """The host's answer is not WS-Management as we understand it."""


@dataclass(frozen=True, slots=True)
class FaultDetail:
    """What a SOAP fault says, innermost code first.

    `code` is the WSManFault or HRESULT number of the innermost provider fault (0 if none),
    `subcode` the qualified name such as "w:InvalidSelectors".
    """

    subcode: str
    code: int
    reason: str
    provider: str = ""
    detail_uri: str = ""


class WsmanFault(WsmanError):
    """The host answered with a SOAP fault."""

    def __init__(self, detail: FaultDetail) -> None:
        super().__init__(f"{detail.subcode} {detail.code:#x}: {detail.reason}")
        self.detail = detail


class NotFound(WsmanFault):
    """No such object (DestinationUnreachable, InvalidSelectors, 0x80041002)."""


class AccessDenied(WsmanFault):
    """The account may not do this on the host."""


class QueryRefused(WsmanFault):
    """CannotProcessFilter: enumerate the class and filter here instead."""


class QuotaExceeded(WsmanFault):
    """Too many operations at once, or an answer beyond the envelope size."""


class UnknownClass(WsmanFault):
    """The namespace or the class does not exist on this release of Windows."""


class EnumerationLost(WsmanFault):
    """InvalidEnumerationContext: the host dropped the enumeration; it must start again."""


class ProviderUnavailable(WsmanFault):
    """The WMI provider cannot be reached (VMMS stopped, RPC server unavailable)."""
