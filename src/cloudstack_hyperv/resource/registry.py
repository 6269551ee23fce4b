"""Which handler carries out which command: one row a command, filled by the `handles` decorator.

A handler is an async function `(command, HostContext) -> Answer` in the module of its subject
(`resource.vm_start`, `resource.volumes` ...).  The row also says what the command is ordered by:
commands with a common key run one after the other (per VM, per file), all others side by side,
because CloudStack sends commands for one VM in parallel after a fail-over
(AgentManagerImpl; HypervDirectConnectResource.getExecuteInSequence is false).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from cloudstack_hyperv.messages import Answer, Command
    from cloudstack_hyperv.resource.context import HostContext

C = TypeVar("C", bound="Command")

Handler = Callable[[Any, "HostContext"], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class HandlerRow:
    """One supported command."""

    command: type[Command]
    handler: Callable[[Any, HostContext], Awaitable[Answer]]
    ordered_by: Callable[[Any], Iterable[str]]
    """Keys such as "vm:i-2-3-VM" or "file:19ae8e67-..."; taken in sorted order, so no deadlock."""
    page: str
    """The line of the 2012 design page that asks for it, "" if none."""


_rows: dict[type, HandlerRow] = {}


def handles(
    command: type[C],
    *,
    ordered_by: Callable[[C], Iterable[str]] = lambda _: (),
    page: str = "",
) -> Callable[
    [Callable[[C, HostContext], Awaitable[Answer]]], Callable[[C, HostContext], Awaitable[Answer]]
]:
    """Register the decorated async function as the handler of `command`."""

    def register(
        handler: Callable[[C, HostContext], Awaitable[Answer]],
    ) -> Callable[[C, HostContext], Awaitable[Answer]]:
        if command in _rows:
            raise ValueError(f"{command.__name__} has two handlers")
        _rows[command] = HandlerRow(command, handler, ordered_by, page)
        return handler

    return register


def handler_row(command: type) -> HandlerRow | None:
    """Return the row of a command class, None if it is not supported."""
    return _rows.get(command)


def supported_commands() -> tuple[HandlerRow, ...]:
    """Return all rows, by command name."""
    return tuple(sorted(_rows.values(), key=lambda row: row.command.__name__))
