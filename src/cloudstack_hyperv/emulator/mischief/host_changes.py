r"""Changes of the host that are no machine's: volumes, shares, files in use, WQL, passwords.

All of them last until they are taken back.  A share that is gone is gone for the host: VMMS finds
no path there, and machines that run from it are degraded (HealthState 25) until it returns.  Other
programs that reach the folder behind it, such as an agent with a mount of its own, still do.
"""

from __future__ import annotations

from cloudstack_hyperv.emulator.door import fault_table
from cloudstack_hyperv.emulator.door.calls import AnswerFault, Call
from cloudstack_hyperv.emulator.door.faults import WsmanFault
from cloudstack_hyperv.emulator.door.settings import Accounts
from cloudstack_hyperv.emulator.host.config import Share
from cloudstack_hyperv.emulator.host.files import BadWindowsPath, Place
from cloudstack_hyperv.emulator.host.host import EmulatedHost
from cloudstack_hyperv.emulator.host.outcome import JobFailed
from cloudstack_hyperv.emulator.mischief.actions import (
    AccessAction,
    AllowWql,
    ChangePassword,
    FillDisk,
    FreeDisk,
    LockFile,
    RefuseWql,
    ReturnShare,
    StorageAction,
    TakeShare,
    UnlockFile,
)
from cloudstack_hyperv.emulator.mischief.failure import MischiefFailed


class HostChanges:
    """Carries out `StorageAction`s and `AccessAction`s on one host."""

    def __init__(self, host: EmulatedHost, accounts: Accounts) -> None:
        self._host = host
        self._files = host.site.files
        self._accounts = accounts
        self._taken: dict[str, Share] = {}
        self._refused: set[str] = set()

    def do(self, action: StorageAction | AccessAction) -> None:
        """Change the host; raises MischiefFailed."""
        self._host.timeline.settle()
        match action:
            case FillDisk():
                self._files.space.limit(self._place(action.where).root, action.left)
            case FreeDisk():
                self._files.space.lift(self._place(action.where).root)
            case TakeShare():
                self._take_share(action.share)
            case ReturnShare():
                self._return_share(action.share)
            case LockFile():
                self._lock(action.path)
            case UnlockFile():
                self._files.release(_holder(self._place(action.path)))
            case RefuseWql():
                self._refused.add(_namespace(action.namespace))
            case AllowWql():
                self._refused.discard(_namespace(action.namespace))
            case ChangePassword():
                self._change_password(action)

    def verdict(self, call: Call) -> AnswerFault | None:
        """Refuse WQL where it is to be refused."""
        if call.filter and _namespace(call.namespace) in self._refused:
            return AnswerFault(WsmanFault(fault_table.CANNOT_PROCESS_FILTER))
        return None

    def _place(self, windows: str) -> Place:
        try:
            return self._files.locate(windows)
        except (BadWindowsPath, OSError) as problem:
            raise MischiefFailed(str(problem)) from problem

    def _take_share(self, unc: str) -> None:
        place = self._place(unc)
        if place.share is None:
            raise MischiefFailed(f"{unc} is no share")
        users = self._files.holders_below(place.root)
        self._taken[place.windows.lower()] = place.share
        self._files.remove_share(place.share.server, place.share.name)
        for machine in self._host.machines:
            if machine.machine_id in users:
                machine.critical = True

    def _return_share(self, unc: str) -> None:
        share = self._taken.pop(unc.replace("/", "\\").rstrip("\\").lower(), None)
        if share is None:
            raise MischiefFailed(f"{unc} was not taken away")
        self._files.add_share(share)
        users = self._files.holders_below(share.folder)
        for machine in self._host.machines:
            if machine.machine_id in users:
                machine.critical = False

    def _lock(self, path: str) -> None:
        place = self._place(path)
        try:
            self._files.hold(place, _holder(place), exclusive=True)
        except JobFailed as failure:
            raise MischiefFailed(failure.text) from failure

    def _change_password(self, action: ChangePassword) -> None:
        try:
            self._accounts.set_password(action.user, action.password)
        except KeyError as problem:
            raise MischiefFailed(f"no account {action.user}") from problem


def _holder(place: Place) -> str:
    return f"another program/{place.windows.lower()}"


def _namespace(text: str) -> str:
    return text.replace("\\", "/").lower()
