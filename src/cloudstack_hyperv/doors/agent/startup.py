"""The Startup request: who this host is, as the configuration says, completed by the host itself.

The generic agent code of CloudStack fills in names and numbers (com.cloud.agent.Agent,
setupStartupCommand), the resource what only the host knows.  The array is whole or not sent at all:
what is in it is stored as the host's capacity.
"""

from __future__ import annotations

from typing import Final

from cloudstack_hyperv.doors.agent.configuration import (
    RESOURCE,
    AgentConfiguration,
    name_based_uuid,
)
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.messages import (
    Command,
    MessageError,
    copy_with,
    decode_commands,
    encode_commands,
)
from cloudstack_hyperv.messages.commands.startup import StartupCommand, StartupRoutingCommand
from cloudstack_hyperv.messages.enums import HostType
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.storage.host_files import HostFileError
from cloudstack_hyperv.wire import ServerList

ARCHITECTURE: Final = "x86_64"
_ROUTER_STRATEGY: Final = "com.cloud.network.Networks.RouterPrivateIpStrategy"


class HostNotReady(Exception):
    """The Hyper-V host does not say what Startup needs; the text tells why."""


def startup_wish(configuration: AgentConfiguration) -> StartupRoutingCommand:
    """Return the command with what the configuration knows and nothing of the host's own.

    `pool` becomes the cluster's guid if it has none; it is the one that the stock plugin makes of
    the cluster's number when a host is added (HypervServerDiscoverer.find).
    """
    return StartupRoutingCommand(
        type=HostType.ROUTING.value,
        data_center=configuration.zone,
        pod=configuration.pod,
        cluster=configuration.cluster,
        guid=configuration.full_guid,
        name=configuration.name,
        private_ip_address=configuration.private_address,
        storage_ip_address=configuration.private_address,
        version=configuration.door.cloudstack_version,
        resource_name=RESOURCE,
        hypervisor_type="Hyperv",
        pool=name_based_uuid(configuration.cluster),
        host_details={_ROUTER_STRATEGY: "HostLocal"},
    )


async def startup_commands(
    resource: Resource,
    configuration: AgentConfiguration,
    *,
    agent_id: int | None,
    servers: ServerList,
    transferred: bool,
) -> list[Command]:
    """Ask the host and return the commands of the Startup request; raises HostNotReady.

    `transferred` makes the server skip the listeners that cost most: the host only moves over.
    """
    wish = startup_wish(configuration)
    try:
        completed = decode_commands(await resource.startup(encode_commands([wish])))
    except TimeoutError as error:
        raise HostNotReady("its data did not come in time") from error
    except (CommandRefused, HypervisorError, HostFileError, MessageError) as error:
        raise HostNotReady(str(error)) from error
    commands: list[Command] = []
    for index, command in enumerate(completed):
        if not isinstance(command, StartupCommand):
            raise TypeError(f"Startup was completed with a {type(command).__name__}")
        commands.append(
            copy_with(
                command,
                id=agent_id,
                version=configuration.door.cloudstack_version,
                resource_name=RESOURCE,
                arch=ARCHITECTURE,
                ms_host_list=str(servers) if index == 0 else None,
                connection_transferred=transferred,
            )
        )
    return commands
