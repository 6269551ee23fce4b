"""What an agent learns from its management servers, kept in agent.properties where there is one.

Nothing here is needed: the server knows the host by its guid and sends the list again.  Without a
file it lasts as long as the process.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog

from cloudstack_hyperv.doors.agent.configuration import RESOURCE
from cloudstack_hyperv.doors.agent.properties import (
    Properties,
    PropertiesFile,
    PropertiesUnreadable,
)
from cloudstack_hyperv.messages.commands.host import ReadyCommand
from cloudstack_hyperv.wire import ServerList

log = structlog.get_logger(__name__)

_PASSPHRASE = "keystore.passphrase"  # noqa: S105 - the key's name in agent.properties


@dataclass(slots=True)
class AgentMemory:
    """The host's number in CloudStack, and writing to the file."""

    file: PropertiesFile | None
    agent_id: int | None = None
    _has_passphrase: bool = field(default=False, repr=False)

    @classmethod
    def begin(cls, file: PropertiesFile | None, properties: Properties) -> AgentMemory:
        """Begin with what the file says; a number that is none counts as unknown."""
        text = properties.get(f"{RESOURCE}.id") or ""
        known = int(text) if text.isdecimal() else None
        return cls(file, known, properties.get(_PASSPHRASE) is not None)

    def admitted(self, ready: ReadyCommand) -> None:
        """Remember number, UUID and name."""
        if ready.host_id is not None:
            self.agent_id = ready.host_id
        values = {
            "id": None if ready.host_id is None else str(ready.host_id),
            "uuid": ready.host_uuid,
            "name": ready.host_name,
        }
        self._write({f"{RESOURCE}.{key}": value for key, value in values.items() if value})

    def servers(self, listed: ServerList) -> None:
        """Remember the list of management servers."""
        self._write({"host": str(listed)})

    def passphrase(self, text: str | None) -> None:
        """Remember the keystore's passphrase: the first one is kept, as the KVM agent does."""
        if text and not self._has_passphrase:
            self._has_passphrase = True
            self._write({_PASSPHRASE: text})

    def removed(self) -> None:
        """Forget where the host belongs: it must not add itself again after a restart."""
        self._write(dict.fromkeys(("zone", "pod", "cluster"), ""))

    def _write(self, values: dict[str, str]) -> None:
        if self.file is None or not values:
            return
        try:
            self.file.change(values)
        except (OSError, PropertiesUnreadable) as error:
            log.warning(
                "agent.properties cannot be rewritten; it holds until the agent stops",
                file=str(self.file.path),
                keys=sorted(values),
                reason=str(error),
            )
