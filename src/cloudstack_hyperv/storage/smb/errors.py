"""From SMB's status codes to `HostFileError`s that name the path and, where it helps, the remedy.

Source of the codes: [MS-ERREF] 2.3.1.  Texts never contain anything that a server or a library
wrote, so neither a secret nor a terminal's control characters can get in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import spnego.exceptions
from smbprotocol.exceptions import SMBAuthenticationError, SMBException, SMBResponseException

from cloudstack_hyperv.storage.host_files import (
    HostFileError,
    HostFileExists,
    HostFileNotFound,
    NoSpaceLeft,
    PathNotReachable,
)


class SmbConnectionLost(HostFileError):
    """The connection broke, or the server did not answer in time: what it did is not known."""


class SmbUnreachable(SmbConnectionLost):
    """No connection could be made: nothing was done."""


class SmbLoginRefused(HostFileError):
    """The server does not accept the login."""


class SmbProtectionRefused(HostFileError):
    """The server does not offer the dialect, signing or encryption that is demanded."""


class SmbInUse(HostFileError):
    """Somebody has the file open in a way that does not allow this."""


class SmbUnsupported(HostFileError):
    """The server does not know this request; nothing was done."""


_NOT_FOUND: Final = (HostFileNotFound, "does not exist")
_EXISTS: Final = (HostFileExists, "exists; it was not touched")
_FULL: Final = (NoSpaceLeft, "no space left on the volume")
_LOST: Final = (SmbConnectionLost, "the server ended the session")
_UNSUPPORTED: Final = (SmbUnsupported, "the server does not support this request")

KINDS: Final[dict[int, tuple[type[HostFileError], str]]] = {
    0xC000000F: _NOT_FOUND,  # STATUS_NO_SUCH_FILE
    0xC0000034: _NOT_FOUND,  # STATUS_OBJECT_NAME_NOT_FOUND
    0xC000003A: _NOT_FOUND,  # STATUS_OBJECT_PATH_NOT_FOUND
    0xC0000225: _NOT_FOUND,  # STATUS_NOT_FOUND
    0xC0000035: _EXISTS,  # STATUS_OBJECT_NAME_COLLISION
    0xC000007F: _FULL,  # STATUS_DISK_FULL
    0xC0000044: _FULL,  # STATUS_QUOTA_EXCEEDED
    0xC0000802: _FULL,  # STATUS_DISK_QUOTA_EXCEEDED
    0xC00000CC: (PathNotReachable, "the server has no such share"),  # STATUS_BAD_NETWORK_NAME
    0xC00000BE: (PathNotReachable, "the server does not know this path"),  # _BAD_NETWORK_PATH
    0xC0000257: (PathNotReachable, "it leads into a DFS namespace"),  # _PATH_NOT_COVERED
    0x8000002D: (  # STATUS_STOPPED_ON_SYMLINK
        PathNotReachable,
        "a name on the way is a symbolic link, which is not followed",
    ),
    0xC0000103: (PathNotReachable, "a name on the way is no folder"),  # STATUS_NOT_A_DIRECTORY
    0xC00000BA: (HostFileError, "is a folder"),  # STATUS_FILE_IS_A_DIRECTORY
    0xC0000033: (HostFileError, "the server refuses this name"),  # STATUS_OBJECT_NAME_INVALID
    0xC0000022: (HostFileError, "access denied: the login has no right to it"),  # _ACCESS_DENIED
    0xC0000043: (SmbInUse, "is in use"),  # STATUS_SHARING_VIOLATION
    0xC0000054: (HostFileError, "is in use"),  # STATUS_FILE_LOCK_CONFLICT
    0xC0000056: (HostFileError, "is being deleted"),  # STATUS_DELETE_PENDING
    0xC0000121: (HostFileError, "cannot be deleted: read-only or in use"),  # STATUS_CANNOT_DELETE
    0xC0000101: (HostFileError, "the folder is not empty"),  # STATUS_DIRECTORY_NOT_EMPTY
    0xC00000A2: (HostFileError, "the volume is write-protected"),  # STATUS_MEDIA_WRITE_PROTECTED
    0xC0000011: (HostFileError, "ended earlier than its size said"),  # STATUS_END_OF_FILE
    0xC0000010: _UNSUPPORTED,  # STATUS_INVALID_DEVICE_REQUEST
    0xC00000BB: _UNSUPPORTED,  # STATUS_NOT_SUPPORTED
    0xC00000C9: _LOST,  # STATUS_NETWORK_NAME_DELETED
    0xC0000203: _LOST,  # STATUS_USER_SESSION_DELETED
    0xC000035C: _LOST,  # STATUS_NETWORK_SESSION_EXPIRED
    0xC0000128: _LOST,  # STATUS_FILE_CLOSED
    0xC00000B5: (SmbConnectionLost, "the server's storage did not answer"),  # STATUS_IO_TIMEOUT
    0xC0000466: _LOST,  # STATUS_SERVER_UNAVAILABLE
    0xC000006D: (SmbLoginRefused, "wrong user or password"),  # STATUS_LOGON_FAILURE
    0xC000006A: (SmbLoginRefused, "wrong password"),  # STATUS_WRONG_PASSWORD
    0xC0000064: (SmbLoginRefused, "wrong user or password"),  # STATUS_NO_SUCH_USER
    0xC000006E: (SmbLoginRefused, "the account is restricted"),  # STATUS_ACCOUNT_RESTRICTION
    0xC0000071: (SmbLoginRefused, "the password has expired"),  # STATUS_PASSWORD_EXPIRED
    0xC0000224: (SmbLoginRefused, "the password must be changed"),  # _PASSWORD_MUST_CHANGE
    0xC0000072: (SmbLoginRefused, "the account is disabled"),  # STATUS_ACCOUNT_DISABLED
    0xC0000234: (SmbLoginRefused, "the account is locked out"),  # STATUS_ACCOUNT_LOCKED_OUT
    0xC000015B: (SmbLoginRefused, "the account may not log in over the network"),
}


def status_of(error: SMBException) -> int | None:
    """Return the NTSTATUS that a server answered with, None if it did not answer."""
    return int(error.status) if isinstance(error, SMBResponseException) else None


def host_file_error(path: str, error: Exception) -> HostFileError:
    """Return what an error of smbprotocol means for `path`."""
    if isinstance(error, SMBResponseException):
        status = int(error.status)
        kind, reason = KINDS.get(status, (HostFileError, f"the server answered 0x{status:08X}"))
        return kind(f"{path}: {reason}")
    if isinstance(error, SMBAuthenticationError | spnego.exceptions.SpnegoError):
        return SmbLoginRefused(f"{path}: the login failed before the server could judge it")
    return SmbConnectionLost(f"{path}: the connection broke or the server did not answer in time")


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn errors of smbprotocol and of sockets in the block into HostFileErrors."""
    try:
        yield
    except (SMBException, spnego.exceptions.SpnegoError, OSError) as error:
        raise host_file_error(path, error) from error
