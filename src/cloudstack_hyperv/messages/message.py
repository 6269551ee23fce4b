"""What every command and every answer has in common."""

import msgspec

from cloudstack_hyperv.messages.json_text import Json
from cloudstack_hyperv.messages.wire import WireObject


class Message(WireObject, kw_only=True):
    """The fields at the end of every message (`com.cloud.agent.api.Command`).

    `wait` is the sender's patience in seconds, 0 for its default.
    """

    context_map: dict[str, str] = msgspec.field(default_factory=dict)
    wait: int = 0
    bypass_host_maintenance: bool = False
    external_details: dict[str, Json] | None = None

    @property
    def log_id(self) -> str | None:
        """CloudStack's own mark for all log lines of one API call."""
        return self.context_map.get("logid")
