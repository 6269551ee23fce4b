"""Answers about security groups and networks of the host."""

from typing import Self

from cloudstack_hyperv.messages.answer import Answer, answer
from cloudstack_hyperv.messages.enums import SecurityGroupFailure
from cloudstack_hyperv.messages.java import AGENT_API
from cloudstack_hyperv.messages.message import Message


@answer(AGENT_API)
class SecurityGroupRuleAnswer(Answer):
    """Rules are in force, or not; the two numbers are those of the command.

    The server tries again only after `PROGRAMMING_FAILED`; a failure without a reason is
    forgotten.
    """

    log_sequence_number: int | None = None
    vm_id: int | None = None
    reason: SecurityGroupFailure = SecurityGroupFailure.NONE

    @classmethod
    def failure(cls, command: Message | None, details: str) -> Self:
        """Return the failure with the numbers by which the server finds the rules again."""
        return cls(
            result=False,
            details=details,
            log_sequence_number=getattr(command, "seq_num", None),
            vm_id=getattr(command, "vm_id", None),
            reason=SecurityGroupFailure.PROGRAMMING_FAILED,
        )


@answer(AGENT_API)
class SetupPersistentNetworkAnswer(Answer):
    """A persistent network exists on the host (VMware)."""


@answer(AGENT_API)
class CleanupPersistentNetworkResourceAnswer(Answer):
    """A persistent network is gone from the host."""


@answer(AGENT_API)
class DirectNetworkUsageAnswer(Answer):
    """Bytes by public address, from a traffic monitor."""

    ip_bytes_sent_and_received: dict[str, list[int]] | None = None


@answer(AGENT_API)
class RecurringNetworkUsageAnswer(Answer):
    """The traffic monitor counts."""


@answer(AGENT_API)
class ExternalNetworkResourceUsageAnswer(Answer):
    """Bytes by address and by guest VLAN, from an external device."""

    ip_bytes: dict[str, list[int]] | None = None
    guest_vlan_bytes: dict[str, list[int]] | None = None
