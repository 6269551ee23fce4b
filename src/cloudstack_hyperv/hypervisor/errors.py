"""Failures of Hyper-V operations, in words an operator can act on.

This is the first of the two borders where errors change their kind: `wsman` errors and return
codes become a `HypervisorError` here (see `translated`), and the resource turns a
`HypervisorError` into an answer with `result:false` and its text as `details`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.wsman import errors as wsman


class HypervisorError(Exception):
    """A Hyper-V operation failed; `str()` names what failed, why, and what to do if known."""


class HostUnavailable(HypervisorError):
    """The host cannot be asked (network, WinRM, VMMS, credentials)."""


class VirtualMachineNotFound(HypervisorError):
    """No VM of this name or id on the host."""


class NotOurs(HypervisorError):
    """The VM or file exists but CloudStack did not make it: it is never touched."""


class WrongState(HypervisorError):
    """The VM or disk is in a state that forbids the operation."""


class MethodFailed(HypervisorError):
    """A method returned a failure code."""

    def __init__(self, operation: str, code: int, explanation: str = "") -> None:
        try:
            name = ReturnCode(code).name.lower().replace("_", " ")
        except ValueError:
            name = "unknown code"
        text = f"{operation}: Hyper-V answered {code} ({name})"
        super().__init__(f"{text}: {explanation}" if explanation else text)
        self.code = code


class JobFailed(HypervisorError):
    """A job ended in another state than Completed, or with an error code."""

    def __init__(self, operation: str, code: int, description: str) -> None:
        super().__init__(f"{operation}: {description or 'the job failed'} (error {code})")
        self.code = code
        self.description = description


class OperationTimedOut(HypervisorError):
    """The deadline passed; whether the operation took effect is unknown or stated."""


def failed_by_host(error: BaseException) -> bool:
    """Whether the host itself said that it failed: nothing can come of the call any more.

    After any other failure (a connection that broke, a deadline) what was asked for may still
    happen, also a moment later.
    """
    return isinstance(error, MethodFailed | JobFailed)


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn WS-Man errors raised in the block into HypervisorErrors that name `operation`."""
    try:
        yield
    except wsman.AuthenticationFailed as error:
        raise HostUnavailable(
            f"{operation}: the host refused our login ({error}); check user, password and that "
            "the account is in Administrators, or in Hyper-V Administrators and Remote "
            "Management Users"
        ) from error
    except wsman.AccessDenied as error:
        raise HostUnavailable(
            f"{operation}: access denied on the host; the account needs to be in Administrators, "
            "or in Hyper-V Administrators and Remote Management Users"
        ) from error
    except wsman.DeadlineExceeded as error:
        raise OperationTimedOut(
            f"{operation}: no answer from the host in time ({error})"
        ) from error
    except (wsman.HostUnreachable, wsman.ConnectionLost) as error:
        raise HostUnavailable(f"{operation}: cannot reach the host ({error})") from error
    except wsman.WsmanError as error:
        raise HypervisorError(f"{operation}: {error}") from error
