r"""Win32_Process and Win32_Service: what runs in the parent partition.

A process that a client creates lives for a moment.  Of command lines only those are carried out
that clients need on a Hyper-V host and that have an effect on files: `cmd /c mkdir`, `rmdir`,
`del`, `copy`, `move`.  A program that is not there is refused with 9; nothing is pretended.
They run as the caller with a network token: no second hop to `\\server\share`.

Sources: Microsoft's pages Win32_Process.Create (codes), Win32_Service.
"""

from __future__ import annotations

import ntpath
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cloudstack_hyperv.cim.constants import NAMESPACE_CIMV2
from cloudstack_hyperv.emulator.cim.provider import Caller, MethodCall, MethodReply, Row
from cloudstack_hyperv.emulator.host.files import BadWindowsPath, may_enter
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.serving import ClassTable
from cloudstack_hyperv.emulator.host.site import Site, text

SUCCESS, ACCESS_DENIED, UNKNOWN_FAILURE, PATH_NOT_FOUND, INVALID_PARAMETER = 0, 2, 8, 9, 21
_LIFETIME = 1.0
_CMD = re.compile(
    r'"?(?:[a-z]:\\windows\\system32\\)?cmd(?:\.exe)?"?\s+/[cC]\s+(?P<command>.+)$',
    re.IGNORECASE | re.DOTALL,
)
_WORD = re.compile(r'"([^"]*)"|(\S+)')

_SERVICES = (
    ("vmms", "Hyper-V Virtual Machine Management", "vmms.exe"),
    ("vmcompute", "Hyper-V Host Compute Service", "vmcompute.exe"),
    ("WinRM", "Windows Remote Management (WS-Management)", "svchost.exe"),
    ("LanmanServer", "Server", "svchost.exe"),
)


@dataclass(frozen=True, slots=True)
class Process:
    """A running process."""

    pid: int
    name: str
    command: str
    started: datetime
    owner: str


class Processes:
    """Processes and services of one host."""

    def __init__(self, site: Site, machines: Machines) -> None:
        self._site = site
        self._machines = machines
        self._started: dict[int, Process] = {}
        self._next = 20000
        self._commands: dict[str, Callable[[list[str], Caller], int]] = {
            "mkdir": self._mkdir,
            "md": self._mkdir,
            "rmdir": self._rmdir,
            "rd": self._rmdir,
            "del": self._delete,
            "erase": self._delete,
            "copy": self._copy,
            "move": self._move,
        }

    def register(self, table: ClassTable) -> None:
        """Put the classes into the host's table."""
        table.serve(
            "Win32_Process",
            self.processes,
            namespace=NAMESPACE_CIMV2,
            methods={
                "Create": self.create,
                "Terminate": self.terminate,
                "GetOwner": self.get_owner,
            },
        )
        table.serve("Win32_Service", self.services, namespace=NAMESPACE_CIMV2)

    def _all(self) -> Iterator[Process]:
        system = "NT AUTHORITY\\SYSTEM"
        yield Process(4, "System", "", self._site.started, system)
        for number, (_, _, image) in enumerate(_SERVICES[:2]):
            path = f"C:\\Windows\\system32\\{image}"
            yield Process(2000 + 4 * number, image, path, self._site.started, system)
        for machine in self._machines:
            if machine.process_id:
                yield Process(
                    machine.process_id,
                    "vmwp.exe",
                    f'"C:\\Windows\\System32\\vmwp.exe" {machine.machine_id}',
                    machine.state_changed or self._site.started,
                    f"NT VIRTUAL MACHINE\\{machine.machine_id}",
                )
        yield from self._started.values()

    def processes(self) -> Iterator[Row]:
        """Yield Win32_Process."""
        for process in self._all():
            yield Row(
                "Win32_Process",
                {
                    "Handle": str(process.pid),
                    "ProcessId": process.pid,
                    "ParentProcessId": 4,
                    "Name": process.name,
                    "Caption": process.name,
                    "Description": process.name,
                    "CommandLine": process.command or None,
                    "CreationDate": process.started,
                    "CreationClassName": "Win32_Process",
                    "CSCreationClassName": "Win32_ComputerSystem",
                    "CSName": self._site.name,
                    "OSCreationClassName": "Win32_OperatingSystem",
                    "OSName": self._site.profile.caption,
                    "WindowsVersion": self._site.profile.version,
                    "Priority": 8,
                    "SessionId": 0,
                    "ThreadCount": 4,
                },
            )

    def services(self) -> Iterator[Row]:
        """Yield Win32_Service."""
        for name, caption, image in _SERVICES:
            yield Row(
                "Win32_Service",
                {
                    "Name": name,
                    "Caption": caption,
                    "DisplayName": caption,
                    "Description": caption,
                    "AcceptPause": False,
                    "AcceptStop": True,
                    "CreationClassName": "Win32_Service",
                    "DesktopInteract": False,
                    "ErrorControl": "Normal",
                    "ExitCode": 0,
                    "PathName": f"C:\\Windows\\system32\\{image}",
                    "ProcessId": 2000,
                    "ServiceType": "Own Process",
                    "Started": True,
                    "StartMode": "Auto",
                    "StartName": "LocalSystem",
                    "State": "Running",
                    "Status": "OK",
                    "SystemCreationClassName": "Win32_ComputerSystem",
                    "SystemName": self._site.name,
                },
            )

    # Methods -------------------------------------------------------------------------------

    def create(self, call: MethodCall) -> MethodReply:
        """Start a process."""
        command = call.arguments.get("CommandLine")
        if not isinstance(command, str) or not command.strip():
            return MethodReply(INVALID_PARAMETER)
        if not call.caller.administrator:
            return MethodReply(ACCESS_DENIED)
        shell = _CMD.match(command.strip())
        if shell is None:
            return MethodReply(PATH_NOT_FOUND)
        self._next += 4
        process = Process(
            self._next, "cmd.exe", command, self._site.timeline.now(), call.caller.user
        )
        self._started[process.pid] = process
        self._site.timeline.after(_LIFETIME, lambda: self._end(process))
        # As on Windows the exit status is nobody's to see: the process was created.
        self._run(shell["command"], call.caller)
        return MethodReply(SUCCESS, {"ProcessId": process.pid})

    def _end(self, process: Process) -> None:
        self._started.pop(process.pid, None)

    def _run(self, command: str, caller: Caller) -> int:
        command = command.strip()
        if command.startswith('""') or (command.startswith('"') and command.count('"') == 2):
            command = command[1:-1]  # cmd takes one pair of outer quotes off
        words = [quoted or bare for quoted, bare in _WORD.findall(command)]
        words = [word for word in words if not re.fullmatch(r"/[a-zA-Z]", word)]
        run = self._commands.get(words[0].lower()) if words else None
        if run is None:
            return UNKNOWN_FAILURE
        try:
            return run(words[1:], caller)
        except (BadWindowsPath, OSError):
            return UNKNOWN_FAILURE

    def _path(self, windows: str, caller: Caller) -> Path:
        place = self._site.files.locate(windows)
        share = place.share
        if (
            share is not None
            and not self._site.files.is_mapped(share)
            and not (caller.can_delegate and may_enter(share, caller.user))
        ):
            raise PermissionError(f"{windows}: no credentials for a second hop")
        return place.local

    def _free(self, path: Path) -> Path:
        if self._site.files.is_held(path):
            raise PermissionError(f"{path.name} is in use")
        return path

    def _mkdir(self, words: list[str], caller: Caller) -> int:
        for word in words:
            self._path(word, caller).mkdir(parents=True, exist_ok=False)
        return SUCCESS

    def _rmdir(self, words: list[str], caller: Caller) -> int:
        for word in words:
            shutil.rmtree(self._free(self._path(word, caller)))
        return SUCCESS

    def _delete(self, words: list[str], caller: Caller) -> int:
        for word in words:
            self._free(self._path(word, caller)).unlink()
        return SUCCESS

    def _copy(self, words: list[str], caller: Caller) -> int:
        source, target = words
        to = self._path(target, caller)
        to = to / ntpath.basename(source) if to.is_dir() else to
        content = self._free(self._path(source, caller))
        files = self._site.files
        files.space.take(files.locate(target).root, content.stat().st_size)
        shutil.copyfile(content, to)
        return SUCCESS

    def _move(self, words: list[str], caller: Caller) -> int:
        source, target = words
        to = self._path(target, caller)
        to = to / ntpath.basename(source) if to.is_dir() else to
        self._free(self._path(source, caller)).rename(to)
        return SUCCESS

    def _target(self, call: MethodCall) -> Process | None:
        handle = text(call.target.values, "Handle") if call.target is not None else ""
        return next((p for p in self._all() if str(p.pid) == handle), None)

    def terminate(self, call: MethodCall) -> MethodReply:
        """End a process; the system's own and machines' workers cannot be ended."""
        process = self._target(call)
        if process is None:
            return MethodReply(PATH_NOT_FOUND)
        if self._started.pop(process.pid, None) is None:
            return MethodReply(ACCESS_DENIED)
        return MethodReply(SUCCESS)

    def get_owner(self, call: MethodCall) -> MethodReply:
        """Return whose process it is."""
        process = self._target(call)
        if process is None:
            return MethodReply(PATH_NOT_FOUND)
        domain, _, user = process.owner.rpartition("\\")
        return MethodReply(SUCCESS, {"User": user, "Domain": domain})
