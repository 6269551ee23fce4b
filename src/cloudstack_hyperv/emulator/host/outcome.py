"""How a Hyper-V method says no: at once with a code, or later through a job that fails.

`Refused` is for what VMMS checks before it starts anything (parameters, state).  `JobFailed` is
for what it finds out while working (a missing file, a full disk): the method has answered 4096 by
then, and the job ends in state 10 with this code and text.  Where no job was started the code
becomes the ReturnValue.  Texts carry the HRESULT as Hyper-V's own do, because clients look for it.
"""

from __future__ import annotations

from cloudstack_hyperv.cim.constants import ReturnCode


class Refused(Exception):
    """The method returns `code` and nothing has changed."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(f"{int(code)} {text}")
        self.code = int(code)
        self.text = text


class JobFailed(Exception):
    """The operation was started and failed: `code` 32768.., `hresult` as in winerror.h."""

    def __init__(
        self,
        code: int,
        text: str,
        hresult: int = 0x80004005,
        reasons: tuple[tuple[int, str], ...] = (),
    ) -> None:
        """`reasons` are inner errors, (MessageID, text) each, as GetErrorEx lists them."""
        super().__init__(f"{int(code)} {text}")
        self.code = int(code)
        self.text = text
        self.hresult = hresult
        self.reasons = reasons


class Hresult:
    """HRESULTs of Win32 errors that Hyper-V's texts carry (winerror.h)."""

    FILE_NOT_FOUND = 0x80070002
    PATH_NOT_FOUND = 0x80070003
    ACCESS_DENIED = 0x80070005
    SHARING_VIOLATION = 0x80070020
    NOT_SUPPORTED = 0x80070032
    FILE_EXISTS = 0x80070050
    INVALID_PARAMETER = 0x80070057
    DISK_FULL = 0x80070070
    INVALID_NAME = 0x8007007B
    UNKNOWN_FORMAT = 0xC03A0008
    """ERROR_VHD_FORMAT_UNKNOWN: not a virtual disk file, or a broken one."""
    PARENT_MISMATCH = 0xC03A000E
    UNSUPPORTED_SHRINK = 0xC03A0025
    OUT_OF_MEMORY = 0x8007000E
    INVALID_STATE = 0x8007139F
    CANCELLED = 0x800704C7
    RESOURCES = 0x800705AA


def invalid_parameter(text: str) -> Refused:
    """Return the refusal for a parameter that cannot be used."""
    return Refused(ReturnCode.INVALID_PARAMETER, text)


def invalid_state(text: str) -> Refused:
    """Return the refusal for a thing that is not in the right state."""
    return Refused(ReturnCode.INVALID_STATE, text)


def file_failure(verb: str, path: str, reason: str, hresult: int) -> JobFailed:
    """Return the failure of work on a file, worded as Hyper-V does."""
    code = (
        ReturnCode.FILE_NOT_FOUND
        if hresult in (Hresult.FILE_NOT_FOUND, Hresult.PATH_NOT_FOUND)
        else ReturnCode.FAILED
    )
    return JobFailed(code, f"Failed to {verb} '{path}': {reason} (0x{hresult:08X}).", hresult)
