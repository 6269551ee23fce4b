"""Reasons to leave a working connection: a better server, an order to move, a new certificate.

None of them is worth a running command, whose answer would be lost with the connection.

Source: com.cloud.agent.Agent (PreferredHostCheckerTask, MigrateAgentConnection, PostCertificate
Renewal).  Unlike the Java agent a move tries all servers of the list, not only the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from cloudstack_hyperv.doors.agent.outcome import Moved
from cloudstack_hyperv.doors.agent.parts import AgentParts
from cloudstack_hyperv.link import is_reachable
from cloudstack_hyperv.wire import SHUFFLE

log = structlog.get_logger(__name__)

MIGRATE_AFTER: Final = 3.0
RENEW_AFTER: Final = 5.0
IDLE_WITHIN: Final = 60.0
"""Seconds that an ordered move waits for running commands; the server waits for it."""
PROBE_TIMEOUT: Final = 5.0
_LOOK: Final = 1.0


@dataclass(frozen=True, slots=True)
class Moving:
    """Decides when to leave the connection to `server`."""

    parts: AgentParts
    server: str
    leave: Callable[[Moved], None]

    async def watch_preferred(self, is_admitted: Callable[[], bool]) -> None:
        """Look for the preferred server every interval; with a shuffled list once."""
        while True:
            interval = self.parts.preferred_check_interval()
            await asyncio.sleep(interval or _LOOK)
            if interval <= 0 or not is_admitted():
                continue
            if self.parts.choice.listed.algorithm == SHUFFLE:
                if self.parts.preferred_checked:
                    continue
                self.parts.preferred_checked = True
            await self.to_preferred()

    async def to_preferred(self) -> None:
        """Go to the preferred server if it answers and no command runs."""
        better = self.parts.choice.better_than(self.server)
        if better is None or not await self._is_reachable(better):
            return
        if self.parts.running:
            log.info("the preferred management server is there; commands run, so not now")
            return
        reason = "the preferred management server is there"
        self.leave(Moved(better, transferred=False, reason=reason))

    async def migrate(self) -> None:
        """Go to the first other server that answers."""
        await asyncio.sleep(MIGRATE_AFTER)
        for server in self.parts.choice.candidates():
            if server == self.server:
                continue
            if await self._is_reachable(server):
                await self._idle(IDLE_WITHIN)
                reason = "the management server asked to move"
                self.leave(Moved(server, transferred=True, reason=reason))
                return
            log.warning("cannot move there: nobody answers", server=server)
        log.warning("no other management server can be reached: staying", server=self.server)

    async def renew(self, say_goodbye: Callable[[str], Awaitable[None]]) -> None:
        """Connect anew to the same server once no command runs."""
        await asyncio.sleep(RENEW_AFTER)
        while not await self._idle(RENEW_AFTER):
            log.info("connecting with the new certificate waits for running commands")
        await say_goodbye("the agent connects again with its new certificate")
        self.leave(Moved(self.server, transferred=False, reason="new certificate"))

    async def _idle(self, limit: float) -> bool:
        """Wait until no command runs, `limit` seconds at most."""
        tasks = [one.task for one in self.parts.running if one.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=limit)
        return not self.parts.running

    async def _is_reachable(self, server: str) -> bool:
        port = self.parts.configuration.port
        return await is_reachable(server, port, timeout=PROBE_TIMEOUT)
