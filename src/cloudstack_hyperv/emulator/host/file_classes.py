r"""CIM_DataFile, Win32_Directory and Win32_Share: files of the host as WMI shows them.

Names are full drive paths in lower case, as cimwin32 prints them.  A row is found by its full
`Name` only; listing every file of a disk is what Windows takes minutes for, and here it is the
whole tree of the mapped folders.  UNC paths have no rows.

Source: Microsoft's pages CIM_DataFile, Win32_Directory, Win32_Share (return codes of methods).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from cloudstack_hyperv.cim.constants import NAMESPACE_CIMV2
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row, Value
from cloudstack_hyperv.emulator.host.files import BadWindowsPath, Place
from cloudstack_hyperv.emulator.host.serving import ClassTable
from cloudstack_hyperv.emulator.host.site import Site, text

SUCCESS = 0
ACCESS_DENIED = 2
UNSPECIFIED = 8
INVALID_NAME = 9
EXISTS = 10
DRIVE_NOT_SAME = 13
SHARING_VIOLATION = 15
INVALID_PARAMETER = 21


class FileClasses:
    """Providers over `HostFiles`."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._files = site.files

    def register(self, table: ClassTable) -> None:
        """Put the classes into the host's table."""
        table.serve(
            "CIM_DataFile",
            lambda: self._walk(folders=False),
            namespace=NAMESPACE_CIMV2,
            find=lambda keys: self._find(keys, folders=False),
            methods={"Delete": self._delete, "Copy": self._copy, "Rename": self._rename},
        )
        table.serve(
            "Win32_Directory",
            lambda: self._walk(folders=True),
            namespace=NAMESPACE_CIMV2,
            find=lambda keys: self._find(keys, folders=True),
            methods={"Delete": self._delete, "Copy": self._copy, "Rename": self._rename},
        )

    def _walk(self, *, folders: bool) -> Iterator[Row]:
        for drive, root in self._files.drives:
            if folders:
                yield self._row(f"{drive.letter.lower()}:\\", root)
            for folder, folder_names, file_names in os.walk(root):
                for name in sorted(folder_names if folders else file_names):
                    local = Path(folder) / name
                    inside = str(local.relative_to(root)).replace("/", "\\")
                    yield self._row(f"{drive.letter}:\\{inside}".lower(), local)

    def _find(self, keys: Mapping[str, str], *, folders: bool) -> Row | None:
        name = {key.lower(): value for key, value in keys.items()}.get("name", "")
        if name.startswith("\\\\"):
            return None
        try:
            place = self._files.locate(name)
        except (BadWindowsPath, OSError):
            return None
        exists = place.local.is_dir() if folders else place.local.is_file()
        return self._row(place.windows.lower(), place.local) if exists else None

    def _row(self, name: str, local: Path) -> Row:
        state = local.stat()
        folder, _, leaf = name.rpartition("\\")
        stem, dot, extension = leaf.rpartition(".")
        is_folder = local.is_dir()
        modified = datetime.fromtimestamp(state.st_mtime, UTC)
        created = datetime.fromtimestamp(state.st_ctime, UTC)
        values: dict[str, Value] = {
            "Name": name,
            "Caption": name,
            "Description": name,
            "Drive": name[:2],
            "Path": folder[2:] + "\\",
            "FileName": stem if dot else leaf,
            "Extension": extension if dot else "",
            "EightDotThreeFileName": name,
            "FileType": "File Folder" if is_folder else f"{extension} File",
            "CreationClassName": "Win32_Directory" if is_folder else "CIM_LogicalFile",
            "CSCreationClassName": "Win32_ComputerSystem",
            "CSName": self._site.name,
            "FSCreationClassName": "Win32_FileSystem",
            "FSName": "NTFS",
            "CreationDate": created,
            "InstallDate": created,
            "LastModified": modified,
            "LastAccessed": datetime.fromtimestamp(state.st_atime, UTC),
            "AccessMask": 0x1F01FF,
            "Archive": not is_folder,
            "Compressed": False,
            "Encrypted": False,
            "Hidden": False,
            "System": False,
            "Readable": True,
            "Writeable": True,
            "Status": "OK",
        }
        if not is_folder:
            values["FileSize"] = state.st_size
        return Row("Win32_Directory" if is_folder else "CIM_DataFile", values)

    def _target(self, call: MethodCall) -> Place:
        target = call.target
        return self._files.locate(text(target.values, "Name") if target is not None else "")

    def _delete(self, call: MethodCall) -> MethodReply:
        place = self._target(call)
        if place.local == place.root:
            return MethodReply(ACCESS_DENIED)
        if self._files.is_held(place.local):
            return MethodReply(SHARING_VIOLATION)
        try:
            if place.local.is_dir():
                shutil.rmtree(place.local)
            else:
                place.local.unlink()
        except FileNotFoundError:
            return MethodReply(INVALID_NAME)
        except PermissionError:
            return MethodReply(ACCESS_DENIED)
        return MethodReply(SUCCESS)

    def _destination(self, call: MethodCall) -> Place | int:
        name = call.arguments.get("FileName")
        if not isinstance(name, str) or not name:
            return INVALID_PARAMETER
        if name.startswith("\\\\"):
            return ACCESS_DENIED  # a second hop that the login does not allow
        try:
            place = self._files.locate(name)
        except BadWindowsPath:
            return INVALID_NAME
        except FileNotFoundError:
            return INVALID_NAME
        except PermissionError:
            return ACCESS_DENIED
        if place.local.exists():
            return EXISTS
        return place if place.local.parent.is_dir() else INVALID_NAME

    def _copy(self, call: MethodCall) -> MethodReply:
        source, target = self._target(call), self._destination(call)
        if isinstance(target, int):
            return MethodReply(target)
        if any(self._files.holders(source.local).values()):
            return MethodReply(SHARING_VIOLATION)
        try:
            if source.local.is_dir():
                shutil.copytree(source.local, target.local)
            else:
                self._files.space.take(target.root, source.local.stat().st_size)
                shutil.copyfile(source.local, target.local)
        except OSError:
            return MethodReply(UNSPECIFIED)
        return MethodReply(SUCCESS)

    def _rename(self, call: MethodCall) -> MethodReply:
        source, target = self._target(call), self._destination(call)
        if isinstance(target, int):
            return MethodReply(target)
        if source.drive != target.drive:
            return MethodReply(DRIVE_NOT_SAME)
        if self._files.is_held(source.local):
            return MethodReply(SHARING_VIOLATION)
        source.local.rename(target.local)
        return MethodReply(SUCCESS)
