"""The resource: a command in, its own answer out, whatever happens in between.

This is the second of the two borders where errors change their kind: what an operation raises
becomes an answer of the command's own class with `result:false` and `details` that a person can
act on.  A bug (an exception that no layer declares) is logged with its trace and answered in
general words; its text may hold secrets.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import structlog

from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.messages import Answer, Command, failure_answer, unsupported_answer
from cloudstack_hyperv.observe import CommandScope, command_scope
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.ordering import Ordering
from cloudstack_hyperv.resource.registry import HandlerRow, handler_row
from cloudstack_hyperv.storage.host_files import HostFileError
from cloudstack_hyperv.vhd import VhdError

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Resource:
    """Carries out CloudStack's commands on one Hyper-V host."""

    context: HostContext
    ordering: Ordering = field(default_factory=Ordering)

    async def execute(self, command: Command) -> Answer:
        """Carry out one command; never raises but for cancellation.

        The deadline is the command's own `wait` (seconds), or the configured default when that
        is 0; at the deadline the operation is cancelled, undone, and answered as failed.
        """
        row = handler_row(type(command))
        name = type(command).__name__
        if row is None:
            log.warning("unsupported command", command=name)
            return unsupported_answer(type(command))
        scope = CommandScope(
            name, self.context.host.name, str(command.context_map.get("logid", ""))
        )
        with (
            command_scope(scope),
            structlog.contextvars.bound_contextvars(
                logid=scope.logid, host=scope.host, command=name
            ),
        ):
            started = time.monotonic()
            answer = await self._answer(row, command)
            log.info(
                "command answered",
                result=answer.result,
                details=answer.details or None,
                milliseconds=round((time.monotonic() - started) * 1000, 1),
                round_trips=scope.round_trips,
                job_polls=scope.job_polls,
            )
            return answer

    async def _answer(self, row: HandlerRow, command: Command) -> Answer:
        wait = command.wait or self.context.settings.direct.default_wait
        try:
            async with asyncio.timeout(wait):
                async with self.ordering.hold(row.ordered_by(command)):
                    return await row.handler(command, self.context)
        except TimeoutError:
            return failure_answer(
                type(command), f"{type(command).__name__} did not end within {wait:g} s; undone"
            )
        except (CommandRefused, HypervisorError, HostFileError, VhdError) as error:
            return failure_answer(type(command), str(error))
        except Exception as error:
            log.exception("a handler failed in a way it does not declare")
            return failure_answer(
                type(command),
                f"internal error in {type(command).__name__} ({type(error).__name__}); "
                "the agent's log has the details",
            )
