"""How the process tells what it does: the scope of a command, structured logs, redaction."""

from cloudstack_hyperv.observe.logs import configure_logs
from cloudstack_hyperv.observe.redaction import redact, redact_text
from cloudstack_hyperv.observe.scope import (
    CommandScope,
    command_scope,
    count_round_trip,
    current_scope,
)

__all__ = [
    "CommandScope",
    "command_scope",
    "configure_logs",
    "count_round_trip",
    "current_scope",
    "redact",
    "redact_text",
]
