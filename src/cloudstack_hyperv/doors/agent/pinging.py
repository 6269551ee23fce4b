"""The ping cycle: a sign of life, with the power state of every VM on the host.

The report is complete or left out: a VM that is missing counts as stopped after two intervals, and
an empty report says that all of them are gone (VirtualMachinePowerStateSyncImpl).  Where the host
cannot be asked the ping goes without, and after some such pings none goes at all: see
`wire.schedule.PingSchedule.is_silent`.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from cloudstack_hyperv.doors.agent.parts import AgentParts
from cloudstack_hyperv.link import Link
from cloudstack_hyperv.messages.commands.host import PingRoutingCommand
from cloudstack_hyperv.messages.enums import HostType
from cloudstack_hyperv.messages.objects.host import HostVmStateReportEntry
from cloudstack_hyperv.wire import Conversation, PingSchedule

log = structlog.get_logger(__name__)

DEFAULT_INTERVAL: Final = 60
MOST_REPORT_TIME: Final = 30.0


class Pinging:
    """The pings of one connection."""

    def __init__(self, parts: AgentParts, conversation: Conversation, link: Link) -> None:
        self._parts = parts
        self._conversation = conversation
        self._link = link
        self._schedule: PingSchedule | None = None

    async def run(self, interval: int) -> str:
        """Ping every `interval` seconds; returns why the connection is to be given up.

        Raises LinkLost.
        """
        configuration = self._parts.configuration
        schedule = PingSchedule(
            float(interval if interval > 0 else DEFAULT_INTERVAL),
            configuration.ping_retries,
            configuration.door.silent_after,
        )
        self._schedule = schedule
        loop = asyncio.get_running_loop()
        schedule.begin(loop.time())
        while True:
            await asyncio.sleep(schedule.pause(loop.time()))
            # With a full queue the answers lie unread on our side.
            if schedule.is_lost and not self._parts.is_full:
                return f"{schedule.most_unanswered} pings in a row were not answered"
            report = await self._report(min(MOST_REPORT_TIME, schedule.interval / 2))
            was_silent = schedule.is_silent
            schedule.host_reported(answered=report is not None)
            if schedule.is_silent:
                if not was_silent:
                    log.error("the Hyper-V host does not answer: pings stop until it does")
                schedule.skipped(loop.time())
                continue
            own = self._conversation.ping(self._command(report))
            schedule.sent(own.sequence, loop.time())
            await self._link.send(own.data)

    def answered(self, sequence: int) -> None:
        """Note the answer to a ping."""
        if self._schedule is not None:
            self._schedule.answered(sequence)

    async def _report(self, limit: float) -> dict[str, str] | None:
        try:
            async with asyncio.timeout(limit):
                return await self._parts.resource.vm_state_report()
        except Exception as error:  # noqa: BLE001 - whatever it is: no report rather than a part
            log.warning(
                "no state report with this ping", reason=str(error), kind=type(error).__name__
            )
            return None

    def _command(self, report: dict[str, str] | None) -> PingRoutingCommand:
        name = self._parts.configuration.name
        entries = None
        if report is not None:
            entries = {
                vm: HostVmStateReportEntry(state=str(state), host=name)
                for vm, state in report.items()
            }
        return PingRoutingCommand(
            host_type=HostType.ROUTING.value,
            host_id=self._parts.memory.agent_id or 0,
            host_vm_state_report=entries,
            gateway_accessible=True,
            vnet_accessible=True,
        )
