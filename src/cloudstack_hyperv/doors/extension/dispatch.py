"""From an action's name and payload to its outcome, whatever happens in between.

Actions on one VM wait for each other, as CloudStack's commands do (`resource.ordering`), but for
`status`, which only looks.  An action ends within the time that the management server gives it,
less what undoing may take: at that moment it is cancelled and taken back, before the server kills
the process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from cloudstack_hyperv.doors.extension import changes, lifecycle, snapshots
from cloudstack_hyperv.doors.extension.hosts import ExtensionHosts
from cloudstack_hyperv.doors.extension.outcome import Outcome, failed
from cloudstack_hyperv.doors.extension.payload import BadPayload, Payload, read_payload
from cloudstack_hyperv.doors.extension.work import Work
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.observe import CommandScope, command_scope
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.storage.host_files import HostFileError
from cloudstack_hyperv.vhd import VhdError

log = structlog.get_logger(__name__)

DEFAULT_SECONDS: Final = 1800.0
"""CloudStack's global `wait`."""
LONGEST_UNDO: Final = 30.0

Action = Callable[[Work], Awaitable[Outcome]]

ACTIONS: Final[Mapping[str, Action]] = {
    "prepare": lifecycle.prepare,
    "create": lifecycle.create,
    "start": lifecycle.start,
    "stop": lifecycle.stop,
    "reboot": lifecycle.reboot,
    "delete": lifecycle.delete,
    "status": lifecycle.status,
    "getconsole": changes.get_console,
    "suspend": lifecycle.suspend,
    "resume": lifecycle.resume,
    "listsnapshots": snapshots.list_snapshots,
    "createsnapshot": snapshots.create_snapshot,
    "restoresnapshot": snapshots.restore_snapshot,
    "deletesnapshot": snapshots.delete_snapshot,
    "resize": changes.resize,
    "scale": changes.scale,
    "attach": changes.attach,
    "detach": changes.detach,
    "stats": changes.stats,
    "migrate": changes.migrate,
}
_LOOKING: Final = frozenset({"status", "getconsole", "stats", "listsnapshots"})
"""Actions that change nothing: they do not wait for those that do."""


async def run_action(
    name: str, content: bytes, seconds: float | None, hosts: ExtensionHosts
) -> Outcome:
    """Carry out one action; raises nothing but a cancellation, after which all is undone."""
    action = ACTIONS.get(name.lower())
    if action is None:
        return failed(f"no action {name[:100]!r}; there are {', '.join(sorted(ACTIONS))}")
    try:
        payload = read_payload(content)
        with hosts.resource(payload.host) as resource:
            return await _run(action, name.lower(), payload, seconds, resource)
    except (BadPayload, CommandRefused) as error:
        return failed(str(error))


async def _run(
    action: Action, name: str, payload: Payload, seconds: float | None, resource: Resource
) -> Outcome:
    given = seconds if seconds else DEFAULT_SECONDS
    limit = given - min(LONGEST_UNDO, given * 0.2)
    work = Work(payload, resource.context, limit)
    keys = () if name in _LOOKING else (f"vm:{payload.vm.name}",)
    scope = CommandScope(f"extension {name}", resource.context.host.name)
    with (
        command_scope(scope),
        structlog.contextvars.bound_contextvars(
            host=scope.host, command=scope.command, vm=payload.vm.name[:100]
        ),
    ):
        started = time.monotonic()
        outcome = await _outcome(action, work, resource, keys)
        log.info(
            "action answered",
            status=outcome.status,
            text=outcome.text[:500] if outcome.status else None,
            milliseconds=round((time.monotonic() - started) * 1000, 1),
            round_trips=scope.round_trips,
            job_polls=scope.job_polls,
        )
        return outcome


async def _outcome(
    action: Action, work: Work, resource: Resource, keys: tuple[str, ...]
) -> Outcome:
    try:
        async with asyncio.timeout(work.seconds):
            async with resource.ordering.hold(keys):
                return await action(work)
    except TimeoutError:
        return failed(f"the action did not end within {work.seconds:g} s; undone")
    except (BadPayload, CommandRefused, HypervisorError, HostFileError, VhdError) as error:
        return failed(str(error))
    except Exception as error:
        log.exception("an action failed in a way it does not declare")
        return failed(f"internal error ({type(error).__name__}); the agent's log has the details")
