"""While the management service or the whole host is away: what clients meet until it is back.

A service that restarts resets its connections, then the front end answers 503, then WMI answers
but finds no provider behind it (0x800706BA, the RPC server is unavailable).  A host that reboots
refuses connections.  Ends are times on the host's clock, so virtual time ends an outage too.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Final

from cloudstack_hyperv.cim.constants import NAMESPACE_VIRTUALIZATION
from cloudstack_hyperv.emulator.cim.provider import CimFault
from cloudstack_hyperv.emulator.door.calls import AnswerFault, AnswerStatus, Call
from cloudstack_hyperv.emulator.door.faults import WsmanFault, from_wmi
from cloudstack_hyperv.emulator.door.server import WsmanServer
from cloudstack_hyperv.emulator.host.clock import NEVER
from cloudstack_hyperv.emulator.host.host import EmulatedHost
from cloudstack_hyperv.emulator.mischief.actions import RebootHost, RestartVmms

RPC_UNAVAILABLE: Final = 0x800706BA
_LOOK_S: Final = 0.01
_OPERATIONS: Final = {"Get": "GetObject", "Invoke": "ExecMethod"}


class Outages:
    """Restarts of one host and of its management service."""

    def __init__(self, host: EmulatedHost, server: WsmanServer) -> None:
        self._host = host
        self._server = server
        self._unavailable_until: datetime = NEVER
        self._rpc_errors_until: datetime = NEVER
        self._back_at: datetime = NEVER
        self._watch: asyncio.Task[None] | None = None
        self._returning = asyncio.Lock()

    def restart_vmms(self, action: RestartVmms) -> None:
        """Lose the jobs, reset connections, and let calls fail for a while."""
        self._host.restart_management_service()
        now = self._host.now()
        self._unavailable_until = now + timedelta(seconds=action.unavailable)
        self._rpc_errors_until = self._unavailable_until + timedelta(seconds=action.rpc_errors)
        self._server.disconnect_all()

    def reboot(self, action: RebootHost) -> None:
        """Take power away, and WinRM with it until the host is back."""
        self._host.reboot()
        self._back_at = self._host.now() + timedelta(seconds=action.away)
        self._server.go_away()
        if self._watch is None or self._watch.done():
            self._watch = asyncio.get_running_loop().create_task(self._watch_for_return())

    def verdict(self, call: Call) -> AnswerStatus | AnswerFault | None:
        """Return what a call meets now, None when the service is up."""
        if self._rpc_errors_until is NEVER:
            return None
        now = self._host.now()
        if now < self._unavailable_until:
            return AnswerStatus(503)
        if now >= self._rpc_errors_until:
            self._unavailable_until = self._rpc_errors_until = NEVER
            return None
        if call.namespace.replace("\\", "/").lower() != NAMESPACE_VIRTUALIZATION:
            return None
        return AnswerFault(wmi_fault(RPC_UNAVAILABLE, call))

    async def look(self) -> None:
        """Come back if it is time to."""
        async with self._returning:
            if self._server.is_away and self._host.now() >= self._back_at:
                await self._server.come_back()

    async def _watch_for_return(self) -> None:
        while self._server.is_away:
            await asyncio.sleep(_LOOK_S)
            await self.look()

    async def close(self) -> None:
        """Stop waiting for a return."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)


def wmi_fault(hresult: int, call: Call) -> WsmanFault:
    """Return the fault of a call that WMI or a provider refuses with this HRESULT."""
    words = "The RPC server is unavailable." if hresult == RPC_UNAVAILABLE else ""
    operation = _OPERATIONS.get(call.operation, "CreateInstanceEnum")
    return from_wmi(CimFault(hresult, words), operation)
