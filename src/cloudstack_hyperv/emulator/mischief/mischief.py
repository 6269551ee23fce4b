"""Mischief on one emulated host: rules in front of its door, changes behind everybody's back.

    mischief = Mischief(host, server)
    mischief.add(Rule(name="x", action=Drop(after_effect=True), method="DefineSystem", nth=2))
    mischief.add("job-exception@Msvm_ImageManagementService.CreateVirtualHardDisk")
    await mischief.do(StopVm(vm="i-2-3-VM"))
    await mischief.close()

Order of what a call meets: an outage, the rules in the order in which they were added, a refusal of
queries.  All rules count it, outage or not; the first that has something to say about the answer,
or about the job, decides that.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from datetime import datetime
from typing import Final

from cloudstack_hyperv.emulator.door import calls, fault_table
from cloudstack_hyperv.emulator.door.calls import Call, CallRecord, Verdict
from cloudstack_hyperv.emulator.door.faults import WsmanFault
from cloudstack_hyperv.emulator.door.server import WsmanServer
from cloudstack_hyperv.emulator.host import fates
from cloudstack_hyperv.emulator.host.clock import VirtualClock
from cloudstack_hyperv.emulator.host.fates import JobEnding, JobFate
from cloudstack_hyperv.emulator.host.host import EmulatedHost
from cloudstack_hyperv.emulator.host.outcome import JobFailed
from cloudstack_hyperv.emulator.mischief.actions import (
    AccessAction,
    AnswerFault,
    AnswerWay,
    CallAction,
    CompleteJobWithError,
    Drop,
    FailJob,
    Hang,
    HostAction,
    HttpStatus,
    JobAction,
    LoseJob,
    Outage,
    RebootHost,
    RestartVmms,
    ReturnCodeOnly,
    Slow,
    StorageAction,
)
from cloudstack_hyperv.emulator.mischief.failure import MischiefFailed
from cloudstack_hyperv.emulator.mischief.host_changes import HostChanges
from cloudstack_hyperv.emulator.mischief.machine_changes import MachineChanges
from cloudstack_hyperv.emulator.mischief.outages import Outages, wmi_fault
from cloudstack_hyperv.emulator.mischief.rules import BadRule, Firing, Rule, RuleBook, rule_of_name

_logger = logging.getLogger(__name__)
_KEPT_FIRINGS: Final = 10_000
_WORK_LOOK_S: Final = 0.002


class Mischief:
    """Faults on purpose for one emulated host and its door."""

    def __init__(
        self, host: EmulatedHost, server: WsmanServer, clock: VirtualClock | None = None
    ) -> None:
        """Stand between `server` and `host`; `clock` is the host's where that is virtual."""
        self._host = host
        self._clock = clock
        self._outages = Outages(host, server)
        self._changes = HostChanges(host, server.accounts)
        self._machines = MachineChanges(host, server.service.engine)
        self.calls = server.calls
        self.rules = RuleBook()
        self.firings: deque[Firing] = deque(maxlen=_KEPT_FIRINGS)
        self._open_fates: dict[int, tuple[JobFate, Firing]] = {}
        self._afterwards: dict[int, list[tuple[HostAction, Firing]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._detach = (
            server.calls.intercept(self._intercept),
            server.calls.listen(self._finished),
        )

    def now(self) -> datetime:
        """Return the host's time."""
        return self._host.now()

    def add(self, rule: Rule | str) -> Rule:
        """Put a rule, or the one that a name stands for, in force; raises BadRule."""
        made = rule_of_name(rule) if isinstance(rule, str) else rule
        if isinstance(made.action, AnswerFault):
            _check_fault(made.action)
        self.rules.add(made)
        return made

    async def do(self, action: HostAction) -> None:
        """Change the host now; raises MischiefFailed."""
        if isinstance(action, Outage):
            self._begin(action)
        elif isinstance(action, StorageAction | AccessAction):
            self._changes.do(action)
        else:
            await self._machines.do(action)

    async def advance(self, seconds: float) -> None:
        """Let virtual time pass; returns when what is due by then has happened.

        Raises MischiefFailed when the host runs on real time, ValueError for a negative step.
        """
        if self._clock is None:
            raise MischiefFailed("the host runs on real time")
        self._clock.advance(seconds)
        timeline = self._host.timeline
        timeline.settle()
        while timeline.waits_for_work:
            await asyncio.sleep(_WORK_LOOK_S)
            timeline.settle()
        await self._outages.look()

    async def settled(self) -> None:
        """Wait for changes that rules made after a call."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Take the rules away and let the host be; what was changed stays changed."""
        for detach in self._detach:
            detach()
        self.rules.clear()
        for fate, _ in self._open_fates.values():
            fate.taken = True
        await self.settled()
        await self._outages.close()

    # Before a call -------------------------------------------------------------------------

    async def _intercept(self, call: Call) -> Verdict | None:
        fates.arrange(None)
        met = self.rules.met(call)
        chosen: Verdict | None = self._outages.verdict(call)
        if chosen is not None:
            return chosen
        for rule in met:
            firing = Firing(rule.name, call.number)
            self.firings.append(firing)
            verdict = await self._meet(rule, call, firing)
            chosen = chosen or verdict
        return chosen or self._changes.verdict(call)

    async def _meet(self, rule: Rule, call: Call, firing: Firing) -> Verdict | None:
        action = rule.action
        if isinstance(action, CallAction):
            return _verdict(action, call)
        if isinstance(action, JobAction):
            self._arrange(action, call, firing)
            return None
        if action.after_effect:
            self._afterwards.setdefault(call.number, []).append((action, firing))
            return calls.DropConnection(after_effect=True) if isinstance(action, Outage) else None
        await self._try(action, firing)
        return calls.DropConnection() if isinstance(action, Outage) else None

    def _arrange(self, action: JobAction, call: Call, firing: Firing) -> None:
        if call.number in self._open_fates:
            firing.took_effect, firing.note = False, "another rule decides about this job"
            return
        fate = _fate(action)
        self._open_fates[call.number] = fate, firing
        fates.arrange(fate)

    async def _try(self, action: HostAction, firing: Firing) -> None:
        try:
            await self.do(action)
        except MischiefFailed as failure:
            firing.took_effect, firing.note = False, str(failure)
            _logger.warning("rule %s could not act: %s", firing.rule, failure)

    def _begin(self, outage: Outage) -> None:
        if isinstance(outage, RestartVmms):
            self._outages.restart_vmms(outage)
        elif isinstance(outage, RebootHost):
            self._outages.reboot(outage)

    # After it ------------------------------------------------------------------------------

    def _finished(self, record: CallRecord) -> None:
        number = record.call.number
        fate, firing = self._open_fates.pop(number, (None, None))
        if fate is not None and firing is not None and not fate.taken:
            fate.taken = True
            firing.took_effect, firing.note = False, "the call started no operation"
        for action, firing in self._afterwards.pop(number, ()):
            if isinstance(action, Outage):
                self._begin(action)
                continue
            task = asyncio.get_running_loop().create_task(self._try(action, firing))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


def _verdict(action: CallAction, call: Call) -> Verdict:
    match action:
        case Drop():
            return calls.DropConnection(after_effect=action.after_effect)
        case AnswerFault():
            kind = getattr(fault_table, action.name, None)
            fault = WsmanFault(kind) if kind is not None else wmi_fault(action.hresult, call)
            return calls.AnswerFault(fault)
        case ReturnCodeOnly():
            return calls.AnswerCode(action.code)
        case HttpStatus():
            return calls.AnswerStatus(action.status)
        case Hang():
            return calls.Hang(after_effect=action.after_effect)
        case Slow():
            return calls.Slow(action.seconds)


def _fate(action: JobAction) -> JobFate:
    match action:
        case FailJob():
            ending = JobEnding.EXCEPTION
        case CompleteJobWithError():
            ending = JobEnding.COMPLETED_WITH_ERROR
        case LoseJob():
            return JobFate(
                JobEnding.VANISHED,
                takes_effect=action.after_effect,
                seconds=action.seconds,
                vanishes_after=action.after,
            )
        case AnswerWay():
            return JobFate(as_job=action.as_job, seconds=action.seconds)
    return JobFate(
        ending,
        JobFailed(action.code, action.text, action.hresult),
        takes_effect=action.after_effect,
        seconds=action.seconds,
    )


def _check_fault(action: AnswerFault) -> None:
    known = isinstance(getattr(fault_table, action.name, None), fault_table.FaultKind)
    if known == bool(action.hresult) or (action.name and not known):
        raise BadRule("a fault has the name of one of WinRM's, or an hresult")
