"""How the process tells what it does: the scope of a command, structured logs, redaction."""

from cloudstack_hyperv.observe.scope import (
    CommandScope,
    command_scope,
    count_round_trip,
    current_scope,
)

__all__ = ["CommandScope", "command_scope", "count_round_trip", "current_scope"]
