"""The commands of these tests, and what a VM's switch port does with frames."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.emulator_switch.packets import TCP, ip_frame
from tests.resource_vm.commands import LABEL, NAME, Stage, nic, staged, start_command

from cloudstack_hyperv.hypervisor.port_rules import PresentRules, read_rules
from cloudstack_hyperv.messages.commands.network import IpPortAndProto, SecurityGroupRulesCmd
from cloudstack_hyperv.messages.objects.vm import NicTO
from cloudstack_hyperv.network.port_acls import PortRule

MAC = "02:00:51:2c:00:00"
IP = "10.1.1.67"
PEER = "10.1.1.9"
PEER_MAC = bytes.fromhex("020051990009")
VM_MAC = bytes.fromhex(MAC.replace(":", ""))


def guest_nic(**changes: Any) -> NicTO:
    """The NIC of a guest in a Basic zone."""
    fields: dict[str, Any] = {
        "broadcast_uri": "vlan://untagged",
        "isolation_uri": "ec2://untagged",
        "security_group_enabled": True,
        **changes,
    }
    uri = fields.pop("broadcast_uri")
    return nic(fields.pop("device_id", 0), uri, **fields)


def opened(proto: str, first: int, last: int, *cidrs: str) -> IpPortAndProto:
    """One rule of a group."""
    return IpPortAndProto(proto=proto, start_port=first, end_port=last, allowed_cidrs=list(cidrs))


SSH = opened("tcp", 22, 22, "10.1.1.0/24")


def rules_command(*ingress: IpPortAndProto, **changes: Any) -> SecurityGroupRulesCmd:
    """The rules of the VM of these tests."""
    fields: dict[str, Any] = {
        "vm_name": NAME,
        "guest_ip": IP,
        "guest_mac": MAC,
        "signature": "0cc175b9c0f1b6a831c399e269772661",
        "seq_num": 5,
        "vm_id": 17,
        "ms_id": 1,
        "ingress_rule_set": list(ingress),
        **changes,
    }
    return SecurityGroupRulesCmd(**fields)


@dataclass(slots=True)
class NetworkStage(Stage):
    """A stage that can send frames to the VM's first NIC and see what it may send."""

    async def start_guest(self, **changes: Any) -> None:
        """Start the VM with one NIC in a Basic zone."""
        await self.done(start_command(nics=[guest_nic(**changes)]))

    async def present(self, position: int = 0, name: str = NAME) -> PresentRules:
        """Read the rules of a NIC with the other client."""
        connection = (await self.adapters(name))[position].adapter.connection
        assert connection is not None
        return await read_rules(self.directory.client, connection.path, "look")

    async def rules(self) -> frozenset[PortRule]:
        """Read the rules of the first NIC."""
        return frozenset(weighed.rule for weighed, _ in await self.present())

    def port(self, mac: bytes = VM_MAC) -> str:
        """The VM's port, by its MAC address."""
        fabric = self.emulation.host.fabric
        (port,) = [name for name in fabric.ports if fabric.settings(name).mac == mac]
        return port

    def uplink(self) -> str:
        """The physical card of the switch that guests are on."""
        fabric = self.emulation.host.fabric
        switch = next(s for s in self.emulation.host.switches if s.name == LABEL)
        found = [
            cable.port_guid
            for cable in self.emulation.host.switch_rows.cables()
            if cable.machine is None
            and cable.switch is switch
            and fabric.settings(cable.port_guid).kind.value == "uplink"
        ]
        return found[0]

    def receives(self, frame: bytes) -> bool:
        """Whether the VM gets a frame that comes in by the physical card."""
        delivered = self.emulation.host.fabric.send(self.uplink(), frame)
        return self.port() in [name for name, _ in delivered]

    def sends(self, frame: bytes) -> bool:
        """Whether a frame of the VM goes out by the physical card."""
        delivered = self.emulation.host.fabric.send(self.port(), frame)
        return self.uplink() in [name for name, _ in delivered]

    def reached(self, port: int, protocol: int = TCP, *, source: str = PEER, to: str = IP) -> bool:
        """Whether a peer reaches a port of the VM."""
        return self.receives(ip_frame(PEER_MAC, VM_MAC, source, to, protocol, (40000, port)))

    def reaches(self, port: int, protocol: int = TCP, *, source: str = IP, to: str = PEER) -> bool:
        """Whether the VM reaches a port of a peer."""
        return self.sends(ip_frame(VM_MAC, PEER_MAC, source, to, protocol, (50000, port)))


@asynccontextmanager
async def network_stage(folder: Path, **config: Any) -> AsyncIterator[NetworkStage]:
    """Run a host made of `config` and an agent for it."""
    async with staged(folder, **config) as made:
        yield NetworkStage(made.emulation, made.resource, made.directory)
