"""The resource: a command in, its own answer out, whatever happens in between.

This is the second of the two borders where errors change their kind: what an operation raises
becomes an answer of the command's own class with `result:false` and `details` that a person can
act on.  A bug (an exception that no layer declares) is logged with its trace and answered in
general words; its text may hold secrets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.messages import (
    Answer,
    Command,
    MalformedMessage,
    decode_commands,
    encode_commands,
    failure_answer,
    unsupported_answer,
)
from cloudstack_hyperv.messages.commands.startup import StartupRoutingCommand
from cloudstack_hyperv.observe import CommandScope, command_scope
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.handlers import handler_row
from cloudstack_hyperv.resource.ordering import Ordering
from cloudstack_hyperv.resource.registry import HandlerRow
from cloudstack_hyperv.resource.startup import startup
from cloudstack_hyperv.resource.vm_state import vm_state_report
from cloudstack_hyperv.storage.host_files import HostFileError
from cloudstack_hyperv.vhd import VhdError

log = structlog.get_logger(__name__)

READ_TIMEOUT = 90.0
"""Seconds for reading a host's data or its VMs' states: within CloudStack's ping interval twice."""


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
        with self._scope(command) as scope:
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

    async def startup(self, body: bytes) -> bytes:
        """Complete the array of startup commands that a management server posts.

        Complete or not at all: what is answered here is stored as the host's capacity.  Raises
        MalformedMessage, CommandRefused, HypervisorError.
        """
        commands = decode_commands(body)
        if not commands or not isinstance(commands[0], StartupRoutingCommand):
            raise MalformedMessage("[0]: expected a StartupRoutingCommand")
        first = commands[0]
        with self._scope(first) as scope:
            async with asyncio.timeout(READ_TIMEOUT):
                completed = await startup(first, self.context)
            log.info("host data answered", round_trips=scope.round_trips, job_polls=0)
            return encode_commands(completed)

    async def vm_state_report(self) -> dict[str, str]:
        """Report every VM's power state: complete, or an exception of any kind."""
        with self._scope(None) as scope:
            async with asyncio.timeout(READ_TIMEOUT):
                states = await vm_state_report(self.context)
            log.info("VM states reported", round_trips=scope.round_trips, job_polls=0)
            return states

    @contextmanager
    def _scope(self, command: Command | None) -> Iterator[CommandScope]:
        name = type(command).__name__ if command is not None else "HostVmStateReportCommand"
        logid = str(command.context_map.get("logid", "")) if command is not None else ""
        scope = CommandScope(name, self.context.host.name, logid)
        with (
            command_scope(scope),
            structlog.contextvars.bound_contextvars(logid=logid, host=scope.host, command=name),
        ):
            yield scope

    async def _answer(self, row: HandlerRow, command: Command) -> Answer:
        wait = command.wait or self.context.settings.direct.default_wait
        try:
            async with asyncio.timeout(wait):
                async with self.ordering.hold(row.ordered_by(command)):
                    return await row.handler(command, self.context)
        except TimeoutError:
            return failure_answer(
                command, f"{type(command).__name__} did not end within {wait:g} s; undone"
            )
        except (CommandRefused, HypervisorError, HostFileError, VhdError) as error:
            return failure_answer(command, str(error))
        except Exception as error:
            log.exception("a handler failed in a way it does not declare")
            return failure_answer(
                command,
                f"internal error in {type(command).__name__} ({type(error).__name__}); "
                "the agent's log has the details",
            )
