"""What is said about a host: its networks, its VMs' states, the commands it still works on."""

from cloudstack_hyperv.messages.objects.vm import NetworkTO
from cloudstack_hyperv.messages.wire import WireObject


class HostTO(WireObject):
    """Another host, for commands that ask about it."""

    guid: str | None = None
    private_network: NetworkTO | None = None
    public_network: NetworkTO | None = None
    storage_network1: NetworkTO | None = None
    storage_network2: NetworkTO | None = None
    parent: str | None = None
    uuid: str | None = None


class PhysicalNetworkSetupInfo(WireObject):
    """The traffic labels of one physical network; a label that is not set is null."""

    physical_network_id: int | None = None
    private_network_name: str | None = None
    public_network_name: str | None = None
    guest_network_name: str | None = None
    storage_network_name: str | None = None
    mgmt_vlan: str | None = None


class HostVmStateReportEntry(WireObject):
    """The power state of one VM, and where it is."""

    state: str | None = None
    host: str | None = None


class CommandInfo(WireObject):
    """A long command that the server asks about after a reconnect."""

    request_seq: int | None = None
    state: str | None = None
    start_time: str | None = None
    update_time: str | None = None
    command_name: str | None = None
    command: str | None = None
    timeout: int = 0
    answer_name: str | None = None
    answer: str | None = None
