"""Everything that can be made to go wrong, as plain values that are written and read as JSON.

An action is either what happens to a call (`drop`, `fault`, `return-code` ...), how the job that
a call starts ends (`fail-job` ...), or a change of the host itself (`restart-vmms`, `fill-disk`,
`rename-vm` ...).  The first two make sense in rules only; the last also at once.

In JSON an action is an object whose `do` names it: `{"do": "slow", "seconds": 2.5}`.  Fields with
a default may be left out, unknown ones are refused.  Seconds are the host's, virtual or real;
those of `slow` are always real.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.host.outcome import Hresult


class _Action(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do"
):
    """What all actions have in common: how they are written."""


# What happens to a call ------------------------------------------------------------------------


class Drop(_Action, frozen=True, tag="drop"):
    """Reset the connection, before the operation or after it."""

    after_effect: bool = False


class AnswerFault(_Action, frozen=True, tag="fault"):
    """Answer a SOAP fault instead: one of WinRM's by name, or an HRESULT of WMI or a provider."""

    name: str = ""
    """As in the table of faults, e.g. `TIMED_OUT`, `ACCESS_DENIED`, `QUOTA_LIMIT`."""
    hresult: int = 0


class ReturnCodeOnly(_Action, frozen=True, tag="return-code"):
    """Answer a method with this ReturnValue; nothing else happens."""

    code: int = int(ReturnCode.FAILED)


class HttpStatus(_Action, frozen=True, tag="http-status"):
    """Answer a bare HTTP status."""

    status: int = 503


class Hang(_Action, frozen=True, tag="hang"):
    """Never answer, before the operation or after it; the connection stays open."""

    after_effect: bool = False


class Slow(_Action, frozen=True, tag="slow"):
    """Answer later; beyond the call's own timeout WinRM answers TimedOut."""

    seconds: float = 1.0


# What becomes of the job that a call starts ----------------------------------------------------


class FailJob(_Action, frozen=True, tag="fail-job"):
    """End the job in state 10 with this code and text (which should hold the HRESULT)."""

    code: int = int(ReturnCode.FAILED)
    hresult: int = 0x80004005
    text: str = "The operation failed."
    after_effect: bool = False
    seconds: float | None = None


class CompleteJobWithError(_Action, frozen=True, tag="complete-job-with-error"):
    """End the job in state 7 (completed) with an ErrorCode that is not 0."""

    code: int = int(ReturnCode.FAILED)
    hresult: int = 0x80004005
    text: str = "The operation failed."
    after_effect: bool = True
    seconds: float | None = None


class LoseJob(_Action, frozen=True, tag="lose-job"):
    """Let the job's row vanish, at once or `after` seconds; what it does may happen or not."""

    after: float = 0.0
    after_effect: bool = True
    """Whether the operation takes effect all the same."""
    seconds: float | None = None


class AnswerWay(_Action, frozen=True, tag="answer-way"):
    """Choose between 4096 (a job, of `seconds`) and 0 where Windows may do either."""

    as_job: bool
    seconds: float | None = None


# The host --------------------------------------------------------------------------------------


class RestartVmms(_Action, frozen=True, tag="restart-vmms"):
    """Restart the management service: jobs are lost, machines run on.

    Connections are reset; then every call is answered 503 for `unavailable` seconds, and those to
    Hyper-V's namespace an RPC error for `rpc_errors` seconds more.
    """

    unavailable: float = 0.1
    rpc_errors: float = 0.2
    after_effect: bool = False


class RebootHost(_Action, frozen=True, tag="reboot-host"):
    """Reboot: jobs are lost, machines do as their AutomaticStartupAction says, WinRM is away."""

    away: float = 0.5
    after_effect: bool = False


class FillDisk(_Action, frozen=True, tag="fill-disk"):
    r"""Leave so many bytes on a drive (`C:`) or share (`\\server\share`)."""

    where: str = "C:"
    left: int = 0
    after_effect: bool = False


class FreeDisk(_Action, frozen=True, tag="free-disk"):
    """Take `fill-disk` back."""

    where: str = "C:"
    after_effect: bool = False


class TakeShare(_Action, frozen=True, tag="take-share"):
    r"""Let a share `\\server\share` be gone; machines with files on it become critical."""

    share: str
    after_effect: bool = False


class ReturnShare(_Action, frozen=True, tag="return-share"):
    """Give a share back that was taken."""

    share: str
    after_effect: bool = False


class LockFile(_Action, frozen=True, tag="lock-file"):
    """Let another program hold a file open, so that nobody else can open it."""

    path: str
    after_effect: bool = False


class UnlockFile(_Action, frozen=True, tag="unlock-file"):
    """Take `lock-file` back."""

    path: str
    after_effect: bool = False


class RefuseWql(_Action, frozen=True, tag="refuse-wql"):
    """Answer CannotProcessFilter to every WQL query in a namespace."""

    namespace: str = "root/virtualization/v2"
    after_effect: bool = False


class AllowWql(_Action, frozen=True, tag="allow-wql"):
    """Take `refuse-wql` back."""

    namespace: str = "root/virtualization/v2"
    after_effect: bool = False


class ChangePassword(_Action, frozen=True, tag="change-password"):
    """Change an account's password; connections that are logged in stay so."""

    user: str
    password: str
    after_effect: bool = False


# Machines, behind the agent's back -------------------------------------------------------------


class RenameVm(_Action, frozen=True, tag="rename-vm"):
    """Give a machine another name."""

    vm: str
    """Its name or GUID."""
    to: str
    after_effect: bool = False


class StartVm(_Action, frozen=True, tag="start-vm"):
    """Start a machine."""

    vm: str
    after_effect: bool = False


class StopVm(_Action, frozen=True, tag="stop-vm"):
    """Turn a machine off."""

    vm: str
    after_effect: bool = False


class DeleteVm(_Action, frozen=True, tag="delete-vm"):
    """Turn a machine off if need be and delete it; its disks stay."""

    vm: str
    after_effect: bool = False


class CheckpointVm(_Action, frozen=True, tag="checkpoint-vm"):
    """Make a checkpoint of a machine."""

    vm: str
    after_effect: bool = False


class AttachDisk(_Action, frozen=True, tag="attach-disk"):
    """Put a virtual hard disk into a new drive on the machine's first free controller place."""

    vm: str
    path: str
    after_effect: bool = False


CallAction: TypeAlias = Drop | AnswerFault | ReturnCodeOnly | HttpStatus | Hang | Slow
JobAction: TypeAlias = FailJob | CompleteJobWithError | LoseJob | AnswerWay
Outage: TypeAlias = RestartVmms | RebootHost
StorageAction: TypeAlias = FillDisk | FreeDisk | TakeShare | ReturnShare | LockFile | UnlockFile
AccessAction: TypeAlias = RefuseWql | AllowWql | ChangePassword
MachineAction: TypeAlias = RenameVm | StartVm | StopVm | DeleteVm | CheckpointVm | AttachDisk
HostAction: TypeAlias = Outage | StorageAction | AccessAction | MachineAction
Action: TypeAlias = CallAction | JobAction | HostAction

FAULTS: Final[dict[str, Action]] = {
    "lost-before": Drop(),
    "lost-after": Drop(after_effect=True),
    "fault": AnswerFault(name="INTERNAL_ERROR"),
    "access-denied": AnswerFault(name="ACCESS_DENIED"),
    "timed-out": AnswerFault(name="TIMED_OUT"),
    "quota": AnswerFault(name="QUOTA_LIMIT"),
    "provider-failure": AnswerFault(hresult=0x80041001),
    "rpc-unavailable": AnswerFault(hresult=0x800706BA),
    "return-32768": ReturnCodeOnly(),
    "return-32775": ReturnCodeOnly(code=int(ReturnCode.INVALID_STATE)),
    "http-503": HttpStatus(),
    "job-exception": FailJob(
        text=f"The operation cannot be performed (0x{Hresult.INVALID_STATE:08X}).",
        hresult=Hresult.INVALID_STATE,
    ),
    "job-exception-after": FailJob(after_effect=True),
    "job-disk-full": FailJob(
        text=f"There is not enough space on the disk. (0x{Hresult.DISK_FULL:08X}).",
        hresult=Hresult.DISK_FULL,
    ),
    "job-completed-with-error": CompleteJobWithError(after_effect=False),
    "job-vanishes": LoseJob(),
    "job-vanishes-undone": LoseJob(after_effect=False),
    "always-job": AnswerWay(as_job=True),
    "never-job": AnswerWay(as_job=False),
    "hang-before": Hang(),
    "hang-after": Hang(after_effect=True),
    "slow": Slow(),
    "vmms-restart": RestartVmms(),
    "vmms-restart-after": RestartVmms(after_effect=True),
    "host-reboot": RebootHost(),
    "host-reboot-after": RebootHost(after_effect=True),
    "disk-full": FillDisk(),
    "wql-refused": RefuseWql(),
}
"""Faults that need no argument, by the names that cases are replayed by."""
