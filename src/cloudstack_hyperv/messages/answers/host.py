"""Answers about the host itself: connecting, health, maintenance."""

import msgspec

from cloudstack_hyperv.messages.answer import Answer, answer
from cloudstack_hyperv.messages.java import AGENT_API
from cloudstack_hyperv.messages.json_text import Json
from cloudstack_hyperv.messages.objects.host import CommandInfo
from cloudstack_hyperv.messages.objects.pairs import Pair


@answer(AGENT_API)
class ReadyAnswer(Answer):
    """The host can be commanded; the map tells what it can do (`host.uefi.enable`)."""

    details_map: dict[str, str] | None = None


@answer(AGENT_API)
class StartupAnswer(Answer):
    """The management server's answer to a connecting agent; the interval is in seconds."""

    host_id: int = 0
    host_name: str | None = None
    host_uuid: str | None = None
    ping_interval: int = 0


@answer(AGENT_API)
class SetupAnswer(Answer):
    """The host is set up; `reconnect` makes the server drop and re-make the connection."""

    reconnect: bool = msgspec.field(default=False, name="_reconnect")


@answer(AGENT_API)
class CheckNetworkAnswer(Answer):
    """Whether every traffic label has its switch; false puts the host into Alert."""

    reconnect: bool = msgspec.field(default=False, name="_reconnect")


@answer(AGENT_API)
class CheckHealthAnswer(Answer):
    """Whether the host is alive; true ends an investigation."""


@answer(AGENT_API)
class CheckOnHostAnswer(Answer):
    """What a neighbour says of a lost host: `result` true means that the other one is down."""

    determined: bool = False
    alive: bool = False


@answer(AGENT_API)
class FenceAnswer(Answer):
    """Whether the VMs of a lost host were fenced."""


@answer(AGENT_API)
class MaintainAnswer(Answer):
    """The host prepares for maintenance; `will_migrate` lets the server migrate its VMs."""

    will_migrate: bool = True


@answer(AGENT_API)
class PingAnswer(Answer):
    """The management server's answer to an agent's ping, which it repeats."""

    command: dict[str, Json] | None = msgspec.field(default=None, name="_command")
    send_startup: bool = False
    avoid_ms_list: list[str] = msgspec.field(default_factory=list)
    reconcile_commands: list[CommandInfo] = msgspec.field(default_factory=list)


@answer(AGENT_API)
class AgentControlAnswer(Answer):
    """The answer to a message between agent and server components."""


@answer(AGENT_API)
class ChangeAgentAnswer(Answer):
    """Another management server took an agent over."""


@answer(AGENT_API)
class MigrateAgentConnectionAnswer(Answer):
    """The agent will move to another management server."""


@answer(AGENT_API)
class CheckGuestOsMappingAnswer(Answer):
    """Whether the hypervisor knows a guest operating system by the mapped name."""


@answer(AGENT_API)
class GetHypervisorGuestOsNamesAnswer(Answer):
    """The guest operating systems that the hypervisor knows."""

    hypervisor_guest_os_names: list[Pair[str, str]] | None = None


@answer(AGENT_API)
class RollingMaintenanceAnswer(Answer):
    """How far a stage of a rolling maintenance is (the last key is misspelt in Java)."""

    finished: bool = False
    avoid_maintenance: bool = False
    maintenance_script_defined: bool = msgspec.field(default=False, name="maintenaceScriptDefined")
