"""CheckNetworkCommand: does every traffic label of the zone have its virtual switch here?

A failure puts the host into Alert, so the text says which label is missing and what there is.  As
in the KVM agent (LibvirtCheckNetworkCommandWrapper, by LibvirtComputingResource.checkNetwork) the
labels of guest, management (private) and public traffic must be there; a missing storage label is
only told, because that traffic never passes a VM's NIC on Hyper-V.
"""

from __future__ import annotations

from cloudstack_hyperv.hypervisor.switches import SwitchNotFound, described, resolve_label
from cloudstack_hyperv.messages.answers.host import CheckNetworkAnswer
from cloudstack_hyperv.messages.commands.host import CheckNetworkCommand
from cloudstack_hyperv.messages.objects.host import PhysicalNetworkSetupInfo
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.known_switches import known_switches
from cloudstack_hyperv.resource.registry import handles


@handles(CheckNetworkCommand, page="Phase 1: VLAN isolation")
async def check_network(command: CheckNetworkCommand, context: HostContext) -> CheckNetworkAnswer:
    """Resolve every label that is set on the host as it is now."""
    switches = await known_switches(context, refresh=True)
    missing: list[str] = []
    told: list[str] = []
    for info in command.network_info_list:
        for traffic, label, needed in _labels(info):
            try:
                resolve_label(switches, label)
            except SwitchNotFound as error:
                text = f"{traffic} of physical network {info.physical_network_id}: {error}"
                (missing if needed else told).append(text)
    if missing:
        return CheckNetworkAnswer(result=False, reconnect=False, details="; ".join(missing))
    details = f"all traffic labels have their switch; the host has {described(switches)}"
    return CheckNetworkAnswer(result=True, reconnect=False, details="; ".join((details, *told)))


def _labels(info: PhysicalNetworkSetupInfo) -> list[tuple[str, str, bool]]:
    """Return (traffic, label, needed) of the labels that are set; null means not set."""
    labels = (
        ("guest traffic", info.guest_network_name, True),
        ("management traffic", info.private_network_name, True),
        ("public traffic", info.public_network_name, True),
        ("storage traffic", info.storage_network_name, False),
    )
    return [(traffic, label, needed) for traffic, label, needed in labels if label]
