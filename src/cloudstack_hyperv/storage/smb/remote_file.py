"""One open file or folder on a share: what [MS-SMB2] and [MS-FSCC] let a client do with it.

Blocking, for one thread at a time.  Every method raises HostFileErrors that name the Windows path.
"""

from __future__ import annotations

import datetime
import enum
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self

from smbprotocol.exceptions import BufferOverflow, InvalidParameter, NoMoreFiles
from smbprotocol.file_info import (
    FileAttributes,
    FileDispositionInformation,
    FileEndOfFileInformation,
    FileFsFullSizeInformation,
    FileInformationClass,
    FileInternalInformation,
    FileRenameInformation,
)
from smbprotocol.ioctl import CtlCode, IOCTLFlags, SMB2IOCTLRequest, SMB2IOCTLResponse
from smbprotocol.open import (
    CreateDisposition,
    CreateOptions,
    DirectoryAccessMask,
    FilePipePrinterAccessMask,
    ImpersonationLevel,
    Open,
    ShareAccess,
    SMB2QueryInfoRequest,
    SMB2QueryInfoResponse,
    SMB2SetInfoRequest,
)

from cloudstack_hyperv.storage.host_files import FileStatus, VolumeSpace
from cloudstack_hyperv.storage.smb.errors import SmbConnectionLost, SmbUnsupported, translated
from cloudstack_hyperv.storage.smb.session import SmbSession
from cloudstack_hyperv.storage.windows_paths import BadWindowsPath, join_path

_RANGE: Final = struct.Struct("<qq")
_RANGES_A_REPLY: Final = 65536 // _RANGE.size
_LISTING: Final = 65536
_SHARE_ALL: Final = (
    ShareAccess.FILE_SHARE_READ | ShareAccess.FILE_SHARE_WRITE | ShareAccess.FILE_SHARE_DELETE
)
_ATTRIBUTES: Final = FilePipePrinterAccessMask.FILE_READ_ATTRIBUTES
_SYNCHRONIZE: Final = FilePipePrinterAccessMask.SYNCHRONIZE
_READ: Final = _ATTRIBUTES | FilePipePrinterAccessMask.FILE_READ_DATA | _SYNCHRONIZE
_WRITE: Final = (
    _READ
    | FilePipePrinterAccessMask.FILE_WRITE_DATA
    | FilePipePrinterAccessMask.FILE_WRITE_ATTRIBUTES
    | FilePipePrinterAccessMask.DELETE
)
_FILE: Final = CreateOptions.FILE_NON_DIRECTORY_FILE
_FOLDER: Final = CreateOptions.FILE_DIRECTORY_FILE
_SYMLINK: Final = 0xA000000C
"""IO_REPARSE_TAG_SYMLINK, [MS-FSCC] 2.1.2.1."""
_FLUSH_TIMEOUT: Final = 120.0
"""Seconds: a flush writes out all that the server's cache holds of a file."""


class Purpose(enum.Enum):
    """What a file is opened for: access, sharing, disposition, options of SMB2 CREATE (2.2.13).

    Symbolic links need no option: a Windows server does not follow one for its client but answers
    STATUS_STOPPED_ON_SYMLINK, which we do not follow either.  Mount points (cluster shared volumes)
    and deduplicated files are the server's own business.
    """

    LOOK = (_ATTRIBUTES, _SHARE_ALL, CreateDisposition.FILE_OPEN, 0)
    READ = (
        _READ,
        _SHARE_ALL,
        CreateDisposition.FILE_OPEN,
        _FILE,
    )
    CREATE = (
        _WRITE,
        ShareAccess.FILE_SHARE_READ,
        CreateDisposition.FILE_CREATE,
        _FILE,
    )
    GO_ON_WRITING = (
        _WRITE,
        ShareAccess.FILE_SHARE_READ,
        CreateDisposition.FILE_OPEN,
        _FILE,
    )
    RENAME = (
        _ATTRIBUTES | FilePipePrinterAccessMask.DELETE | _SYNCHRONIZE,
        _SHARE_ALL,
        CreateDisposition.FILE_OPEN,
        0,
    )
    DELETE = (
        _ATTRIBUTES | FilePipePrinterAccessMask.DELETE,
        _SHARE_ALL,
        CreateDisposition.FILE_OPEN,
        _FILE | CreateOptions.FILE_DELETE_ON_CLOSE,
    )
    LIST = (
        DirectoryAccessMask.FILE_LIST_DIRECTORY | DirectoryAccessMask.FILE_READ_ATTRIBUTES,
        _SHARE_ALL,
        CreateDisposition.FILE_OPEN,
        _FOLDER,
    )
    MAKE_FOLDER = (
        DirectoryAccessMask.FILE_READ_ATTRIBUTES,
        _SHARE_ALL,
        CreateDisposition.FILE_OPEN_IF,
        _FOLDER,
    )


class RemoteFile:
    """An open handle; closed at the end of its `with` block."""

    def __init__(
        self, session: SmbSession, share: str, name: str, path: str, purpose: Purpose
    ) -> None:
        r"""Open `name` (below the share, `\` between names); `path` is for texts.

        Raises HostFileNotFound, HostFileExists, PathNotReachable for a symbolic link.
        """
        self.session = session
        self.path = path
        self.tree = session.tree(share)
        self.handle = Open(self.tree, name)
        access, sharing, disposition, options = purpose.value
        with translated(path):
            self.handle.create(
                ImpersonationLevel.Impersonation,
                access,
                FileAttributes.FILE_ATTRIBUTE_NORMAL if purpose is Purpose.CREATE else 0,
                sharing,
                disposition,
                options,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, SmbConnectionLost):
            return
        self.close()

    def close(self) -> None:
        """Close the handle; a delete that was asked for happens now."""
        with translated(self.path):
            self.handle.close()

    @property
    def size(self) -> int:
        """Bytes, as of the opening."""
        return int(self.handle.end_of_file)

    def status(self) -> FileStatus:
        """Return what the opening told."""
        folder = bool(self.handle.file_attributes & FileAttributes.FILE_ATTRIBUTE_DIRECTORY)
        return FileStatus(
            path=self.path,
            size=0 if folder else self.size,
            is_folder=folder,
            modified=_seconds(self.handle.last_write_time),
        )

    def entries(self) -> Iterator[FileStatus]:
        """Yield the entries of a folder; links and names that Windows cannot have are left out."""
        while found := self._more_entries():
            for entry in found:
                status = self._entry(entry)
                if status is not None:
                    yield status

    def _more_entries(self) -> list[Any]:
        with translated(self.path):
            try:
                found = self.handle.query_directory(
                    "*",
                    FileInformationClass.FILE_FULL_DIRECTORY_INFORMATION,
                    max_output=_LISTING,
                )
            except NoMoreFiles:
                return []
        return list(found)

    def _entry(self, entry: Any) -> FileStatus | None:
        attributes = entry["file_attributes"].get_value()
        name = entry["file_name"].get_value().decode("utf-16-le", errors="replace")
        # The field holds the kind of link where the entry is one, [MS-FSCC] 2.4.14.
        link = attributes & FileAttributes.FILE_ATTRIBUTE_REPARSE_POINT
        if name in (".", "..") or (link and entry["ea_size"].get_value() == _SYMLINK):
            return None
        try:
            path = join_path(self.path, name)
        except BadWindowsPath:
            return None
        folder = bool(attributes & FileAttributes.FILE_ATTRIBUTE_DIRECTORY)
        return FileStatus(
            path=path,
            size=0 if folder else int(entry["end_of_file"].get_value()),
            is_folder=folder,
            modified=_seconds(entry["last_write_time"].get_value()),
        )

    def allocated_ranges(self) -> Iterator[tuple[int, int]]:
        """Yield (offset, length) of what may hold other bytes than zero.

        FSCTL_QUERY_ALLOCATED_RANGES, [MS-FSCC] 2.3.52; all of the file where it is unknown.
        """
        offset = 0
        while offset < self.size:
            try:
                found = self._ranges_from(offset)
            except SmbUnsupported:
                yield offset, self.size - offset
                return
            for start, length in found:
                start, end = max(start, offset), min(start + length, self.size)
                if start < end:
                    yield start, end - start
                    offset = end
            if len(found) < _RANGES_A_REPLY:
                return

    def _ranges_from(self, offset: int) -> list[tuple[int, int]]:
        reply = self.control(
            CtlCode.FSCTL_QUERY_ALLOCATED_RANGES,
            _RANGE.pack(offset, self.size - offset),
            _RANGES_A_REPLY * _RANGE.size,
        )
        whole = len(reply) - len(reply) % _RANGE.size
        return list(_RANGE.iter_unpack(reply[:whole]))

    def control(self, code: int, data: bytes, longest_reply: int, timeout: float = 0) -> bytes:
        """Send a file system control and return its reply; raises SmbUnsupported."""
        request = SMB2IOCTLRequest()
        request["ctl_code"] = code
        request["file_id"] = self.handle.file_id
        request["max_output_response"] = longest_reply
        request["flags"] = IOCTLFlags.SMB2_0_IOCTL_IS_FSCTL
        request["buffer"] = data
        reply = SMB2IOCTLResponse()
        with translated(self.path):
            try:
                reply.unpack(self._ask(request, timeout))
            except InvalidParameter as error:
                raise SmbUnsupported(f"{self.path}: the server refuses this request") from error
            except BufferOverflow as error:
                # More than fits: what came is whole all the same.
                reply.unpack(error.header["data"].get_value())
        return bytes(reply["buffer"].get_value())

    def mark_sparse(self) -> None:
        """Ask that ranges which were never written take no space; servers may not know it."""
        try:
            self.control(CtlCode.FSCTL_SET_SPARSE, b"\x01", 0)
        except SmbUnsupported:
            return

    def set_size(self, size: int) -> None:
        """Set the end of the file; raises NoSpaceLeft where the server reserves the space."""
        info = FileEndOfFileInformation()
        info["end_of_file"] = size
        self._set(info)

    def rename(self, new_name: str) -> None:
        """Give the file another name on its share; raises HostFileExists, never overwrites."""
        info = FileRenameInformation()
        info["replace_if_exists"] = False
        info["file_name"] = new_name
        self._set(info)

    def delete_at_close(self) -> None:
        """Have the file deleted when it is closed."""
        info = FileDispositionInformation()
        info["delete_pending"] = True
        self._set(info)

    def flush(self) -> None:
        """Have the server make what was written stable; may take long."""
        request, _ = self.handle.flush(send=False)
        with translated(self.path):
            self._ask(request, max(self.session.server.timeout, _FLUSH_TIMEOUT))

    def file_number(self) -> int:
        """Return the number by which the volume knows the file, whatever its name."""
        info = FileInternalInformation()
        self._query(info, 8)
        return int(info["index_number"].get_value())

    def space(self) -> VolumeSpace:
        """Return capacity and what is left of it for this login."""
        info = FileFsFullSizeInformation()
        self._query(info, 32)
        unit = info["sectors_per_unit"].get_value() * info["bytes_per_sector"].get_value()
        return VolumeSpace(
            capacity=unit * info["total_allocation_units"].get_value(),
            available=unit * info["caller_available_units"].get_value(),
        )

    def _query(self, info: Any, longest: int) -> None:
        request = SMB2QueryInfoRequest()
        request["info_type"] = info.INFO_TYPE
        request["file_info_class"] = info.INFO_CLASS
        request["output_buffer_length"] = longest
        request["file_id"] = self.handle.file_id
        reply = SMB2QueryInfoResponse()
        with translated(self.path):
            reply.unpack(self._ask(request))
        info.unpack(reply["buffer"].get_value())

    def _set(self, info: Any) -> None:
        request = SMB2SetInfoRequest()
        request["info_type"] = info.INFO_TYPE
        request["file_info_class"] = info.INFO_CLASS
        request["file_id"] = self.handle.file_id
        request["buffer"] = info
        with translated(self.path):
            self._ask(request)

    def _ask(self, message: Any, timeout: float = 0) -> bytes:
        connection = self.session.connection
        request = connection.send(
            message, sid=self.session.session_id, tid=self.tree.tree_connect_id
        )
        reply = connection.receive(request, timeout=timeout or None)
        return bytes(reply["data"].get_value())


def _seconds(moment: datetime.datetime) -> float:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp()
